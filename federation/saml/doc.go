// Package saml signs people in at one SAML 2.0 identity provider. It is the
// service provider's side of the Web Browser SSO profile (saml-profiles-2.0-os
// §4.1): requests by the redirect or POST binding, answers by POST alone.
//
// It knows one identity provider and the message that comes from it. It does
// not know users, sessions or services, keeps nothing between Begin and
// Finish, and opens no connection but the one that reads metadata.
//
// # See only what is signed
//
// Every forgery of the last ten years made the program check one thing and
// read another. So an answer passes these steps in this order, and each step
// sees only what the step before gives it:
//
//	bytes       one field of a POST form, at most 256 KiB decoded
//	scan        no DOCTYPE, no instructions, nothing outside the root, every
//	            name resolved; budgets for depth, elements, attributes and
//	            namespaces
//	structure   one Response, one Assertion in the whole document, signatures
//	            only where the schema has them, every ID once
//	outer       Version, Issuer, Destination, InResponseTo, Status: cheap,
//	            and it keeps everything below from whoever has no flow
//	load        the round-trip validator; then the tree that libraries need, of
//	            the tokens that were scanned: no second reader has a second opinion
//	verify      the reference check of signature.go, with keys from metadata
//	            alone; what comes out are the canonical bytes that were hashed
//	read again  the verified bytes are parsed into a tree of their own, and
//	            the outer checks are made again on what was signed
//	decrypt     if the assertion is encrypted; then scan, structure, load, verify
//	policy      policy.go, on the verified assertion and nothing else
//	identity    subject.go and attributes.go
//
// The tree that goxmldsig canonicalises is found by position, never by name,
// so two readers can not disagree about which element is meant; and if they
// did, what is read would still be what was hashed.
//
// # Which libraries, and which not
//
// Canonicalisation is goxmldsig's and the tree it works on is etree's. The
// reference check around it is ours: goxmldsig's own Validate stops at 1,000
// elements, which is a person in many groups, and it accepts more shapes of
// signature than SAML has. Decryption is ours as well, about a hundred lines
// on crypto/cipher and crypto/rsa: AES-GCM with RSA-OAEP and nothing else has
// no padding to be an oracle. crewjam/saml is used in tests only, where
// idptest reads with its types what this package writes: its AuthnRequest can
// not name two contexts, and everything it reads it reads leniently.
//
// # Deliberate strictness
//
//   - Comments never split a value: the canonical form has none, so
//     "admin@x<!---->.evil" is read as the whole text. Inside a Signature they
//     are refused.
//   - An assertion within Advice, or anywhere but directly in the Response,
//     refuses the whole answer.
//   - A certificate in metadata is a bag for a key; its dates are ignored, as
//     the metadata interoperability profile wants it (IIP-MD12).
//   - A signature over the Response covers the assertion in it, so one of the
//     two signatures is enough, unless Config asks for a particular one.
//   - Attribute names are what the attribute Name says; FriendlyName is
//     decoration and is ignored. The same attribute given twice must say the
//     same values.
//   - IdP-initiated sign-in does not exist: an answer without a Pending has
//     no InResponseTo to match.
package saml
