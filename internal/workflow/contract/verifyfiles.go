package contract

// VerifyFilesCommand is the command of modelkiln-step with which an init container
// verifies the files of a model before the pod serves them.
const VerifyFilesCommand = "verify-files"

// Flags of VerifyFilesCommand.
const (
	// FlagModel is the directory with the files of the model.
	FlagModel = "model"
	// FlagList is the list of files in the model's image.
	FlagList = "list"
	// FlagListDigest is the digest of the list, "sha256:…".
	FlagListDigest = "list-digest"
)

// VerifyFilesArguments returns the arguments of modelkiln-step that verify the files in a
// directory against a list with a digest.
func VerifyFilesArguments(model, list, listDigest string) []string {
	return []string{VerifyFilesCommand, "--" + FlagModel + "=" + model, "--" + FlagList + "=" + list, "--" + FlagListDigest + "=" + listDigest}
}
