// Package sources reads models with internal/step/remote from a real object store: the
// Versity Gateway, which serves a directory with the API of Amazon S3. It takes minutes to
// compile, so that the tests have the tag slow, and make test compiles it and passes its
// path. The hub of Hugging Face has no program that could run here: package hub imitates
// it.
package sources
