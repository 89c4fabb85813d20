package saml

// Reason codes of this package. Those that both protocols share are in
// package federation.
const (
	ReasonXML              = "saml.xml"
	ReasonStructure        = "saml.structure"
	ReasonSignature        = "saml.signature"
	ReasonSignatureMissing = "saml.signature_missing"
	ReasonAlgorithm        = "saml.algorithm"
	ReasonEncryption       = "saml.encryption"
	ReasonIssuer           = "saml.issuer"
	ReasonDestination      = "saml.destination"
	ReasonRecipient        = "saml.recipient"
	ReasonInResponseTo     = "saml.in_response_to"
	ReasonAudience         = "saml.audience"
	ReasonConditions       = "saml.conditions"
	ReasonConfirmation     = "saml.confirmation"
	ReasonExpired          = "saml.expired"
	ReasonNotYetValid      = "saml.not_yet_valid"
	ReasonAuthn            = "saml.authn_statement"
	ReasonSubject          = "saml.subject"
	ReasonSubjectFormat    = "saml.subject_format"
	ReasonAttributes       = "saml.attributes"
	ReasonOverage          = "saml.groups_overage"
)

// Reasons says what each code of this package means, in one sentence for an
// administrator.
var Reasons = map[string]string{
	ReasonXML:              "The answer is not the plain XML that SAML allows: it has a DOCTYPE, an instruction, something outside its root, or is not well formed.",
	ReasonStructure:        "The answer is built as no SAML answer is: elements in the wrong place, too many of them, or an ID given twice.",
	ReasonSignature:        "The signature was not made with a key from the identity provider's metadata, or what it covers was changed.",
	ReasonSignatureMissing: "Neither the response nor the assertion in it is signed, or the one that must be signed is not.",
	ReasonAlgorithm:        "The answer is signed or encrypted with an algorithm that is not accepted.",
	ReasonEncryption:       "The encrypted assertion can not be decrypted, or something is encrypted that can not be read here.",
	ReasonIssuer:           "The answer comes from another identity provider than the one that was asked.",
	ReasonDestination:      "The answer was addressed to another place.",
	ReasonRecipient:        "The assertion was made for delivery to another place.",
	ReasonInResponseTo:     "The answer belongs to no request that this browser's sign-in made.",
	ReasonAudience:         "The assertion was made for another service provider.",
	ReasonConditions:       "The assertion sets a condition that is not understood, or none at all.",
	ReasonConfirmation:     "The assertion may not be presented by a browser: it has no usable bearer confirmation.",
	ReasonExpired:          "The assertion's time is over, or the clocks of the identity provider and of this machine differ too much.",
	ReasonNotYetValid:      "The assertion's time has not come, which usually means that the clocks of the identity provider and of this machine differ.",
	ReasonAuthn:            "The assertion does not say when and how the person signed in.",
	ReasonSubject:          "The assertion does not name the person, names two, or the name can not be used.",
	ReasonSubjectFormat:    "The only name given for the person is of a kind that can not identify them, such as a transient one.",
	ReasonAttributes:       "The attributes contradict each other: one is given twice with different values, or a value has no name.",
	ReasonOverage:          "The person is in so many groups that the identity provider sent a link instead of the list.",
}
