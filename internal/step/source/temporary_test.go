package source

import (
	"io/fs"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// ollamaBlob is the name of a file in Ollama's storage.
const ollamaBlob = "sha256-ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"

func TestListRejectsUnfinishedFiles(t *testing.T) {
	tests := map[string]struct {
		files []string
		// want is the file that the message names; empty for none.
		want, writer string
	}{
		"rsync, beside the file":                        {[]string{"2.bin", ".2.bin.7iOc1a"}, ".2.bin.7iOc1a", "rsync"},
		"rsync, instead of the file":                    {[]string{"config.json", ".1.bin.JnfGe5"}, ".1.bin.JnfGe5", "rsync"},
		"rsync, in a directory":                         {[]string{"config.json", "a/b/.1.bin.3Caik2"}, "a/b/.1.bin.3Caik2", "rsync"},
		"rsync, of a hidden file, whose dot is its own": {[]string{".gitattributes.xK9aZq"}, ".gitattributes.xK9aZq", "rsync"},
		"rsync, a suffix without digits":                {[]string{".1.bin.aBcDeF"}, ".1.bin.aBcDeF", "rsync"},
		"rsync, a suffix like a name, beside the file":  {[]string{"1.bin", ".1.bin.GitHub"}, ".1.bin.GitHub", "rsync"},
		"rsync, a suffix without capitals, beside it":   {[]string{"1.bin", ".1.bin.a1b2c3"}, ".1.bin.a1b2c3", "rsync"},
		"rsync --delay-updates":                         {[]string{".~tmp~/1.bin"}, ".~tmp~/1.bin", "rsync"},
		"rsync --partial-dir":                           {[]string{"a/.rsync-partial/1.bin"}, "a/.rsync-partial/1.bin", "rsync"},
		"aria2, beside its file":                        {[]string{"1.bin", "1.bin.aria2"}, "1.bin.aria2", "aria2"},
		"Chrome":                                        {[]string{"1.bin.crdownload"}, "1.bin.crdownload", "Chrome"},
		"Hugging Face":                                  {[]string{"blobs/1.incomplete"}, "blobs/1.incomplete", "Hugging Face's libraries"},
		"ModelScope":                                    {[]string{"config.json", "._____temp/1.bin"}, "._____temp/1.bin", "ModelScope's libraries"},
		"AWS":                                           {[]string{"1.bin.8E6bC1dA"}, "1.bin.8E6bC1dA", "the AWS command line interface"},
		"gsutil":                                        {[]string{"1.bin_.gstmp"}, "1.bin_.gstmp", "gcloud or gsutil"},
		"Hadoop":                                        {[]string{"1.bin._COPYING_"}, "1.bin._COPYING_", "Hadoop"},
		"Spark":                                         {[]string{"a/_temporary/0/part-00000"}, "a/_temporary/0/part-00000", "Hadoop or Spark"},
		"WinSCP":                                        {[]string{"1.bin.filepart"}, "1.bin.filepart", "WinSCP"},
		"MinIO":                                         {[]string{"1.bin.0cc175b9c0f1b6a831c399e269772661.part.minio"}, "1.bin.0cc175b9c0f1b6a831c399e269772661.part.minio", "MinIO's clients"},
		"AzCopy":                                        {[]string{".azDownload-0b1f5c2e-7a4d-4c1b-9e6f-2d3a4b5c6d7e-1.bin"}, ".azDownload-0b1f5c2e-7a4d-4c1b-9e6f-2d3a4b5c6d7e-1.bin", "AzCopy"},
		"Ollama":                                        {[]string{"blobs/" + ollamaBlob + "-partial-3"}, "blobs/" + ollamaBlob + "-partial-3", "Ollama"},
		"a part":                                        {[]string{"1.bin.part"}, "1.bin.part", "a download"},
		"a partial file":                                {[]string{"1.bin.partial"}, "1.bin.partial", "a download"},
		"a name with control characters":                {[]string{"\x1b[31m.part"}, " [31m.part", "a download"},
		"a suffix that is a word":                       {files: []string{".env", ".env.sample", "env", ".config.abcdef", "config", ".config.backup"}},
		"a suffix that is a capitalized word":           {files: []string{".env.Sample", ".env.README"}},
		"a suffix that is a name":                       {files: []string{".env.GitHub", ".env.OpenAI", ".env.iPhone"}},
		"a suffix that is a date":                       {files: []string{"log", ".log.202611"}},
		"a suffix that is a checksum's":                 {files: []string{"1.bin", ".1.bin.sha256", ".1.bin.md5sum"}},
		"a suffix with digits, and no file":             {files: []string{".1.bin.a1b2c3"}},
		"a suffix of another length":                    {files: []string{"1.bin", ".1.bin.7iOc1", ".1.bin.7iOc1ab"}},
		"a file that is not hidden":                     {files: []string{"1.bin", "1.bin.7iOc1a"}},
		"files of a repository":                         {files: []string{".gitattributes", ".gitignore", ".git/config"}},
		"names that only consist of a suffix":           {files: []string{".part", ".incomplete"}},
		"a suffix in capitals, and one inside a name":   {files: []string{"1.PART", "a.part.bin", "partial"}},
		"aria2 without its file":                        {files: []string{"1.aria2"}},
		"what Hugging Face may have left":               {files: []string{".cache/huggingface/download/1.abc.incomplete"}},
		"a suffix of hexadecimal digits in small letters": {files: []string{"1.bin.8e6bc1da", "1.bin.8E6BC1DA", "events.20261128", "1.Deadbeef"}},
		"a whole blob of Ollama":                          {files: []string{"blobs/" + ollamaBlob}},
		"a directory that is called like unfinished file": {files: []string{"1.part/x", ".1.bin.7iOc1a/x"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir, store := t.TempDir(), fakeStore{content: map[string]string{}}
			for _, file := range tt.files {
				put(t, dir, file, "x")
				store.content[file] = "x"
			}
			for kind, files := range map[string]Files{"a directory": open(t, dir), "a store": &Selected{Files: store, Patterns: &layer.Patterns{}}} {
				_, err := files.List(t.Context())
				if tt.want == "" {
					require.NoError(t, err, kind)
					continue
				}
				assertReason(t, v1alpha1.ReasonSourceIncomplete, err)
				assert.Contains(t, err.Error(), "\""+strings.TrimSpace(tt.want)+"\" is a temporary file of "+tt.writer+", ", kind)
				assert.Contains(t, err.Error(), "wait until that has ended; if it was interrupted, delete the file", kind)
			}
		})
	}
}

// What is left out is not checked.
func TestListIgnoresUnfinishedFilesThatAreExcluded(t *testing.T) {
	patterns := layer.Patterns{Exclude: []string{"*.part", "_temporary/"}}
	store := fakeStore{content: map[string]string{"model.gguf": "x", "a.part": "x", "a/_temporary/0": "x"}}
	assert.Equal(t, []string{".", "logs", "model.gguf"}, plannedPaths(planOfFiles(t, &Selected{Files: store, Patterns: &patterns})))
}

// dropPrivileges makes this test read files as another user. Go may run a test as
// root, who can read all.
func dropPrivileges(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	// The user belongs to the thread.
	runtime.LockOSThread()
	_, err := unix.SetfsuidRetUid(65534)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := unix.SetfsuidRetUid(0)
		require.NoError(t, err)
		runtime.UnlockOSThread()
	})
}

// An incomplete file is reported before one that cannot be read, since it may be the
// same: rsync writes its temporary files with the mode 0600.
func TestListReportsUnfinishedFileFirst(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(put(t, dir, ".1.bin.JnfGe5", "x"), 0o000))
	require.NoError(t, os.Chmod(put(t, dir, ".0.bin", "x"), 0o000))
	files := open(t, dir)
	dropPrivileges(t)

	_, err := files.List(t.Context())

	assertReason(t, v1alpha1.ReasonSourceIncomplete, err)
	assert.Contains(t, err.Error(), ".1.bin.JnfGe5")
}

func TestUnreadableTemporaryFile(t *testing.T) {
	denied := &fs.PathError{Op: "openat", Path: "a", Err: syscall.EACCES}
	for name, maybe := range map[string]bool{".1.bin.abcdef": true, "a/.1.bin.ABCDEF": true, "1.bin": false, ".1.bin": false} {
		t.Run(name, func(t *testing.T) {
			err := cannotRead(name, denied)
			assertReason(t, v1alpha1.ReasonSourceUnreadable, err)
			require.ErrorIs(t, err, syscall.EACCES)
			var f *failure.Error
			require.ErrorAs(t, err, &f)
			if maybe {
				require.ErrorIs(t, err, ErrMaybeTemporary)
				assert.Contains(t, f.Message, "delete the file if it was interrupted")
				return
			}
			require.NotErrorIs(t, err, ErrMaybeTemporary)
		})
	}
	require.NotErrorIs(t, cannotRead(".1.bin.abcdef", &fs.PathError{Op: "read", Path: "a", Err: syscall.EIO}), ErrMaybeTemporary)
}
