// The SAML identity provider that is npm's samlp. It asks nobody anything:
// whoever comes is ada.
// Environment: PORT, ACS, CERT and KEY (its own, PEM files), ENCRYPT_TO (a
// certificate of the service provider, PEM file; empty: not encrypted), SIGN
// (assertion, response or both).
const fs = require('fs');
const crypto = require('crypto');
const express = require('express');
const samlp = require('samlp');

const { PORT, ACS, CERT, KEY, ENCRYPT_TO, SIGN } = process.env;
const issuer = `http://localhost:${PORT}/metadata`;
const cert = fs.readFileSync(CERT);
const options = {
  issuer, cert, key: fs.readFileSync(KEY),
  getPostURL: (audience, request, req, done) => done(null, ACS),
  destination: ACS, recipient: ACS,
  signResponse: SIGN !== 'assertion', signAssertion: SIGN !== 'response',
  signatureAlgorithm: 'rsa-sha256', digestAlgorithm: 'sha256',
  getUserFromRequest: () => ({
    id: 'ada', displayName: 'Ada Lovelace', name: { givenName: 'Ada', familyName: 'Lovelace' },
    emails: [{ value: 'ada@peer.example' }],
  }),
};
if (ENCRYPT_TO) {
  options.encryptionCert = fs.readFileSync(ENCRYPT_TO);
  options.encryptionPublicKey = crypto.createPublicKey(options.encryptionCert).export({ type: 'spki', format: 'pem' });
  options.encryptionAlgorithm = 'http://www.w3.org/2009/xmlenc11#aes256-gcm';
}
const app = express();
app.use(express.urlencoded({ extended: false, limit: '1mb' }));
app.get('/sso', samlp.auth(options));
app.post('/sso', samlp.auth(options));
app.get('/metadata', samlp.metadata({ issuer, cert, redirectEndpointPath: '/sso', postEndpointPath: '/sso' }));
app.listen(Number(PORT), '127.0.0.1', () => console.log('ready'));
