<?php
// One person, whose password is her name.
$config = [
    'admin' => ['core:AdminPassword'],
    'people' => ['exampleauth:UserPass', 'ada:ada' => [
        'uid' => ['ada'],
        'mail' => ['ada@peer.example'],
        'displayName' => ['Ada Lovelace'],
        'eduPersonPrincipalName' => ['ada@peer.example'],
        'eduPersonScopedAffiliation' => ['staff@peer.example', 'member@peer.example'],
    ]],
];
