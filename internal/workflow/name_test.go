package workflow

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

const uid types.UID = "1c072d5e-8a41-4f0b-9c36-5d2e7f1a0b94"

func TestName(t *testing.T) {
	for name, tc := range map[string]struct {
		modelVersion string
		uid          types.UID
		attempt      int64
		want         string
	}{
		"short name":                             {"mv-3", uid, 1, "mv-3-1c072-1"},
		"later attempt":                          {"mv-3", uid, 12, "mv-3-1c072-12"},
		"ModelVersion that was created again":    {"mv-3", "7f3a91c2-0000-4000-8000-000000000000", 1, "mv-3-7f3a9-1"},
		"57 characters":                          {strings.Repeat("a", 49), uid, 1, strings.Repeat("a", 49) + "-1c072-1"},
		"58 characters are truncated and hashed": {strings.Repeat("a", 50), uid, 1, strings.Repeat("a", 40) + "-160b4e43-1c072-1"},
		"no dot or dash before the hash":         {strings.Repeat("a", 38) + ".-." + strings.Repeat("b", 40), uid, 1, strings.Repeat("a", 38) + "-e317c8bd-1c072-1"},
		"short UID":                              {"mv-3", "1c0", 1, "mv-3-1c0-1"},
		"no UID":                                 {"mv-3", "", 1, "mv-3--1"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, Name(tc.modelVersion, tc.uid, tc.attempt))
		})
	}
}

func TestNameCommonPrefix(t *testing.T) {
	long := strings.Repeat("a", 250)
	assert.NotEqual(t, Name(long+"-b", uid, 1), Name(long+"-c", uid, 1))
	assert.NotEqual(t, labelValue(long+"-b"), labelValue(long+"-c"))
}

func TestNameLeavesRoomForResubmit(t *testing.T) {
	longest := Name(strings.Repeat("a", 253), uid, 9999)
	assert.Len(t, longest, 57)
	assert.Empty(t, validation.IsDNS1123Label(longest+"-x7k2p"))
}

func TestLabelValue(t *testing.T) {
	for name, tc := range map[string]struct{ name, want string }{
		"63 characters are kept":                 {strings.Repeat("a", 63), strings.Repeat("a", 63)},
		"64 characters are truncated and hashed": {strings.Repeat("a", 64), strings.Repeat("a", 54) + "-ffe054fe"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, labelValue(tc.name))
		})
	}
}

func TestModelVersionName(t *testing.T) {
	name := func(workload string) string { return ModelVersionName(workload, uid) }
	assert.Equal(t, "mv-"+strings.Repeat("a", 54)+"-1c072", name(strings.Repeat("a", 54)))
	long := name(strings.Repeat("a", 55))
	assert.Len(t, long, 63)
	assert.Regexp(t, "^mv-a+-[0-9a-f]{8}-1c072$", long)
	assert.NotEqual(t, long, name(strings.Repeat("a", 56)))
}
