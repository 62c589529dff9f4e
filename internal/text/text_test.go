package text

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

func TestOneLine(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"a short line is unchanged":                    {"disk quota exceeded", "disk quota exceeded"},
		"white space becomes one space":                {" disk\n\tquota  exceeded\r\n", "disk quota exceeded"},
		"terminal escapes lose their control bytes":    {"a\x1b[31mb", "a [31mb"},
		"invalid UTF-8 becomes a space":                {"a\xffb", "a b"},
		"text that is reversed is not":                 {"a\u202eb\u2066c", "a b c"},
		"separators of lines become spaces":            {"a\u2028b\u0085c", "a b c"},
		"punctuation at the end stays":                 {"quota exceeded.", "quota exceeded."},
		"twenty characters fit":                        {strings.Repeat("ä", 20), strings.Repeat("ä", 20)},
		"a longer line is cut and ends in an ellipsis": {strings.Repeat("ä", 21), strings.Repeat("ä", 19) + "…"},
		"nothing stays nothing":                        {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, OneLine(tc.in, 20))
		})
	}
}

func TestSentence(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"punctuation at the end is removed": {"quota exceeded.: ", "quota exceeded"},
		"a long sentence is cut":            {strings.Repeat("a", 30) + ".", strings.Repeat("a", 19) + "…"},
		"only punctuation is nothing":       {" ... ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, Sentence(tc.in, 20))
		})
	}
}

func TestTruncateBytes(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"what fits is unchanged":              {"äää", "äää"},
		"a cut leaves no part of a character": {"aäääää", "aää…"},
	} {
		t.Run(name, func(t *testing.T) {
			got := TruncateBytes(tc.in, 8)
			assert.Equal(t, tc.want, got)
			assert.LessOrEqual(t, len(got), 8)
			assert.True(t, utf8.ValidString(got))
		})
	}
}
