<?php
// Environment: SIGN (assertion, response or both), ENCRYPT (1: with
// AES-128-CBC, which is the only thing this version can do).
$metadata['__DYNAMIC:1__'] = [
    'host' => '__DEFAULT__', 'privatekey' => 'server.pem', 'certificate' => 'server.crt', 'auth' => 'people',
    'attributes.NameFormat' => 'urn:oasis:names:tc:SAML:2.0:attrname-format:uri',
    'NameIDFormat' => 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent',
    'validate.authnrequest' => true, 'validate.logout' => true, 'sign.logout' => true,
    'saml20.sign.response' => getenv('SIGN') !== 'assertion',
    'saml20.sign.assertion' => getenv('SIGN') !== 'response',
    'assertion.encryption' => getenv('ENCRYPT') === '1',
    'authproc' => [
        3 => ['class' => 'saml:AttributeNameID', 'attribute' => 'eduPersonPrincipalName', 'Format' => 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent'],
        100 => ['class' => 'core:AttributeMap', 'name2oid'],
    ],
];
