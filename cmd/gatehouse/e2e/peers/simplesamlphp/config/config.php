<?php
// SimpleSAMLphp under PHP's own web server, with nothing outside of SSP_HOME.
// Environment: SSP_BASE (its address), SSP_HOME (a folder to write to, with
// server.crt and server.pem, and sp.xml once the service provider is known).
$home = getenv('SSP_HOME');
$sources = [['type' => 'flatfile']];
if (is_file("$home/sp.xml")) {
    $sources[] = ['type' => 'xml', 'file' => "$home/sp.xml"];
}
$config = [
    'baseurlpath' => getenv('SSP_BASE') . '/',
    'certdir' => "$home/", 'loggingdir' => "$home/", 'datadir' => "$home/", 'tempdir' => "$home/tmp/",
    'metadatadir' => dirname(__DIR__) . '/metadata', 'attributenamemapdir' => '/etc/simplesamlphp/attributemap/',
    'secretsalt' => 'for-tests-alone', 'auth.adminpassword' => 'for-tests-alone',
    'technicalcontact_name' => 'Tests', 'technicalcontact_email' => 'tests@peer.example', 'timezone' => 'UTC',
    'logging.level' => 7, 'logging.handler' => 'file', 'logging.logfile' => 'simplesamlphp.log',
    'enable.saml20-idp' => true, 'module.enable' => ['exampleauth' => true, 'core' => true, 'saml' => true],
    'session.cookie.secure' => false, 'session.cookie.samesite' => null,
    'session.phpsession.savepath' => "$home/tmp", 'session.phpsession.cookiename' => 'SSPIDP',
    'language.cookie.secure' => false, 'language.cookie.samesite' => null,
    'store.type' => 'sql', 'store.sql.dsn' => "sqlite:$home/store.sqlite",
    'admin.checkforupdates' => false, 'showerrors' => true, 'errorreporting' => false, 'production' => true,
    'metadata.sources' => $sources,
];
