// Package failure is how a step says what went wrong: a reason that programs
// go by and one sentence that people read.
package failure

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// maxLength is the largest number of characters of a sentence. It ends up in
// the status of a ModelVersion and in a table.
const maxLength = 500

// Error is a failure of a step.
type Error struct {
	// Reason is one of the reasons in api/v1alpha1.
	Reason string
	// Sentence is for the person who wanted the image.
	Sentence string
	// Transient says that the same may go well a little later, without anyone
	// having mended anything.
	Transient bool
	// Cause is what happened underneath, for the log. May be nil.
	Cause error
}

// New returns a failure with a sentence made as by fmt.Sprintf. The sentence
// is without a full stop and, whatever went into it, one line of at most 500
// characters.
func New(reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Sentence: sentence(fmt.Sprintf(format, args...))}
}

// Because returns the failure with what happened underneath.
func (e *Error) Because(cause error) *Error {
	e.Cause = cause
	return e
}

func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Sentence
	}
	return fmt.Sprintf("%s (%v)", e.Sentence, e.Cause)
}

func (e *Error) Unwrap() error { return e.Cause }

// Of returns err as a failure. An error that is none is one of the build
// itself: what the step needs to work was not there.
func Of(err error) *Error {
	var failure *Error
	if errors.As(err, &failure) {
		return failure
	}
	return New(v1alpha1.ReasonBuildFailed, "%v", err)
}

// sentence makes one line of a text.
func sentence(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > maxLength {
		text = string(runes[:maxLength-1]) + "…"
	}
	return strings.TrimRight(text, ". ")
}
