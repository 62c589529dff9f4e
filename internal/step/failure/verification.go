package failure

import "github.com/modelkiln/modelkiln/api/v1alpha1"

// Verification returns a failure with the reason VerificationFailed: an engine
// or the registry does not hold what was planned.
func Verification(format string, args ...any) *Error {
	return New(v1alpha1.ReasonVerificationFailed, format, args...)
}

// BrokenImage returns a Verification failure that a retry cannot resolve: a build
// never overwrites a tag, not even one that an earlier attempt pushed.
func BrokenImage(format string, args ...any) *Error {
	return Verification(format+": delete the tag in the registry, then build again", args...)
}
