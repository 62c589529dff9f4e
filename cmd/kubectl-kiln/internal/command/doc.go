// Package command has the commands of kubectl kiln. Each is in a file of its own: the
// function that defines the command reads and writes, and calls pure functions for what
// it prints.
//
//	root.go       the command line, exit codes and what the commands share
//	errors.go     errors of the API server as sentences
//	output.go     tables and -o
//	watch.go      waiting for an object
//	lineage.go    facts about what a model was made from, in a tree
//	uses.go       what uses a ModelVersion or data
//	signature.go  public keys, and signatures that they verify
package command
