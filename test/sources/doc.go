// Package sources reads models with internal/step/remote from a real object store: the
// Versity Gateway, which serves a directory with the API of Amazon S3. The hub of Hugging
// Face has no program that could run here: package hub imitates it.
package sources
