package text

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

// Whatever a text holds, what is made of it is short and can be printed.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"", "quota exceeded. ", "a\x1b[2J\x00b", "\xff\xfe", "a\u202eb\u2028c\u200bd", "é模\ufffd", strings.Repeat("äa ", 40)} {
		f.Add(seed, uint8(20))
	}
	f.Fuzz(func(t *testing.T, s string, size uint8) {
		limit := int(size) + 3
		for _, got := range []string{OneLine(s, limit), Sentence(s, limit)} {
			assert.LessOrEqual(t, utf8.RuneCountInString(got), limit)
			assert.Equal(t, -1, strings.IndexFunc(got, func(r rune) bool { return !unicode.IsGraphic(r) || r == utf8.RuneError }), "%q", got)
			assert.NotContains(t, got, "  ")
		}
		assert.Equal(t, OneLine(s, limit), OneLine(OneLine(s, limit), limit))
		cut := TruncateBytes(s, limit)
		assert.LessOrEqual(t, len(cut), limit)
		assert.True(t, utf8.ValidString(cut), "%q", cut)
	})
}
