package ldapconn

// Message is message, for the fuzzer.
var Message = message
