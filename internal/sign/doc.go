// Package sign makes and verifies signatures of images and of the files in them. It is
// pure: the same key and the same content give the same bytes, so that what is signed
// again adds nothing to a registry.
//
// A signature is a statement in the format of in-toto
// (https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md), in an
// envelope of DSSE (https://github.com/secure-systems-lab/dsse), in a bundle of Sigstore
// (https://docs.sigstore.dev/about/bundle/).
package sign
