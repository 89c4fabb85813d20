package saml

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"

	"github.com/gatehouse-sso/gatehouse/federation"
)

// maxEncryptedKeys is how many EncryptedKey elements one assertion may have:
// each costs a private-key operation for each of our keys.
const maxEncryptedKeys = 4

const (
	algOAEP     = "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"
	algOAEP11   = "http://www.w3.org/2009/xmlenc11#rsa-oaep"
	algAES128   = "http://www.w3.org/2009/xmlenc11#aes128-gcm"
	algAES192   = "http://www.w3.org/2009/xmlenc11#aes192-gcm"
	algAES256   = "http://www.w3.org/2009/xmlenc11#aes256-gcm"
	algMGF1SHA1 = "http://www.w3.org/2009/xmlenc11#mgf1sha1"
)

// aesKeySize gives the key size in bytes of a block encryption, 0 if it is
// not accepted. CBC and 3DES are not: they have no authentication, so every
// answer to a changed ciphertext tells something about the text.
func aesKeySize(alg string) int {
	switch alg {
	case algAES128:
		return 16
	case algAES192:
		return 24
	case algAES256:
		return 32
	}
	return 0
}

// decrypt gives the plaintext of an EncryptedAssertion for the first of our
// keys that opens it. An algorithm that is not accepted has its own code,
// since it is seen without any key; every other failure is one and the same
// refusal, whatever failed and with which key (xmlenc-core1 §5.5.2 knows why).
func decrypt(el *node, keys []crypto.Decrypter, me string) ([]byte, error) {
	fail := federation.Refuse(ReasonEncryption, "the encrypted assertion can not be decrypted")
	data, ok := el.one(nsEnc, "EncryptedData")
	if !ok || data == nil || len(keys) == 0 {
		return nil, fail
	}
	method, _ := data.one(nsEnc, "EncryptionMethod")
	if method == nil {
		return nil, fail
	}
	size := aesKeySize(method.attrValue("Algorithm"))
	if size == 0 {
		return nil, federation.Refuse(ReasonAlgorithm, "assertions are accepted encrypted with AES-GCM only, not with %s", shortAlgorithm(method.attrValue("Algorithm")))
	}
	// The keys stand in the KeyInfo or beside the data (errata E43).
	wrapped := el.all(nsEnc, "EncryptedKey")
	if info, _ := data.one(nsSignature, "KeyInfo"); info != nil {
		wrapped = append(wrapped, info.all(nsEnc, "EncryptedKey")...)
	}
	text, ok := cipherValue(data)
	const iv, tag = 12, 16
	if !ok || len(text) < iv+tag || len(wrapped) == 0 || len(wrapped) > maxEncryptedKeys {
		return nil, fail
	}
	for _, w := range wrapped {
		if to, named := w.attr("Recipient"); named && to != me {
			continue
		}
		opts, err := transport(w)
		if err != nil {
			return nil, err
		}
		sealed, ok := cipherValue(w)
		if !ok {
			return nil, fail
		}
		for _, k := range keys {
			secret, err := k.Decrypt(rand.Reader, sealed, opts)
			if err != nil || len(secret) != size {
				continue
			}
			block, err := aes.NewCipher(secret)
			if err != nil {
				continue
			}
			gcm, err := cipher.NewGCM(block)
			if err != nil {
				continue
			}
			if plain, err := gcm.Open(nil, text[:iv], text[iv:], nil); err == nil {
				return plain, nil
			}
		}
	}
	return nil, fail
}

// transport reads the EncryptionMethod of an EncryptedKey. Only RSA-OAEP is
// accepted, with SHA-1 or SHA-256 for either of its two hashes; both are safe
// there. rsa-1_5 is the oracle that this package does not have.
func transport(key *node) (*rsa.OAEPOptions, error) {
	refuse := func(alg string) (*rsa.OAEPOptions, error) {
		return nil, federation.Refuse(ReasonAlgorithm, "keys are accepted encrypted with RSA-OAEP and SHA-1 or SHA-256 only, not with %s", shortAlgorithm(alg))
	}
	method, _ := key.one(nsEnc, "EncryptionMethod")
	if method == nil {
		return refuse("")
	}
	alg := method.attrValue("Algorithm")
	if alg != algOAEP && alg != algOAEP11 {
		return refuse(alg)
	}
	opts := &rsa.OAEPOptions{Hash: crypto.SHA1, MGFHash: crypto.SHA1}
	digest, ok := method.one(nsSignature, "DigestMethod")
	if !ok {
		return refuse(alg)
	}
	if digest != nil {
		switch uri := digest.attrValue("Algorithm"); uri {
		case algSHA1:
		case algSHA256:
			opts.Hash = crypto.SHA256
		default:
			return refuse(uri)
		}
	}
	mgf, ok := method.one(nsEnc11, "MGF")
	if !ok || mgf != nil && alg == algOAEP {
		return refuse(alg)
	}
	if mgf != nil {
		switch uri := mgf.attrValue("Algorithm"); uri {
		case algMGF1SHA1:
		case "http://www.w3.org/2009/xmlenc11#mgf1sha256":
			opts.MGFHash = crypto.SHA256
		default:
			return refuse(uri)
		}
	}
	label, ok := method.one(nsEnc, "OAEPparams")
	if !ok {
		return refuse(alg)
	}
	if label != nil {
		if opts.Label, ok = label.binary(); !ok {
			return refuse(alg)
		}
	}
	return opts, nil
}

// cipherValue gives the bytes of a CipherData that holds them. A reference to
// somewhere else is not followed.
func cipherValue(n *node) ([]byte, bool) {
	data, ok := n.one(nsEnc, "CipherData")
	if !ok || data == nil || !kidsAre(data, nsEnc, "CipherValue") {
		return nil, false
	}
	return data.kids[0].binary()
}
