package source

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/text"
)

// ErrMaybeTemporary is the cause of the failure to read a file whose name may be that
// of a temporary file of rsync. Making such a file readable is the wrong advice.
var ErrMaybeTemporary = errors.New("the name may be that of a temporary file of rsync")

// rsync receives NAME as .NAME.XXXXXX in the same directory, with the mode 0600, and
// renames it when it is complete. A dot that NAME begins with is not doubled
// (get_tmpname in rsync's receiver.c). The X are what mkstemp chooses: with glibc,
// any of the 62 letters and digits.
var rsyncName = regexp.MustCompile(`\A\.(.+)\.([A-Za-z0-9]{6})\z`)

// A suffix of capital and small letters is certainly random, unless only its first
// letter is a capital one, or it is a name such as GitHub: three of four are. Any
// other may be a word, as in .env.sample, or a date. If NAME exists too, capital and
// small letters suffice, or digits among letters that are not the name of a checksum:
// nearly all are.
var (
	capitalInside    = regexp.MustCompile(`\A.+[A-Z]`)
	smallLetter      = regexp.MustCompile(`[a-z]`)
	twoWords         = regexp.MustCompile(`\A[A-Z]?[a-z]+[A-Z]+[a-z]*\z`)
	letter           = regexp.MustCompile(`[A-Za-z]`)
	digit            = regexp.MustCompile(`[0-9]`)
	checksumOrFormat = regexp.MustCompile(`(?i)\A(md5sum|sha224|sha256|sha384|sha512|blake2|blake3|base64)\z`)
)

// unfinishedDirs are the directories in which programs keep files until they are
// complete.
var unfinishedDirs = map[string]string{
	// Of rsync --delay-updates (tmp_partialdir in rsync's options.c).
	".~tmp~": "rsync",
	// What rsync's manual uses for --partial-dir.
	".rsync-partial": "rsync",
	// TEMPORARY_FOLDER_NAME in modelscope/hub/constants.py.
	"._____temp": "ModelScope's libraries",
	// PENDING_DIR_NAME in Hadoop's FileOutputCommitter.java.
	"_temporary": "Hadoop or Spark",
}

// unfinishedSuffixes are the suffixes that programs give to a file until they have
// received all of it.
var unfinishedSuffixes = map[string]string{
	"._COPYING_":  "Hadoop",
	"_.gstmp":     "gcloud or gsutil",
	".crdownload": "Chrome",
	".filepart":   "WinSCP",
	".incomplete": "Hugging Face's libraries",
	".part":       "a download",
	".part.minio": "MinIO's clients",
	".partial":    "a download",
}

// huggingFaceCache is where Hugging Face's libraries keep files of a download into a
// directory until they are complete. They never delete what an interrupted one leaves:
// modelfile.Check decides whether the model is incomplete.
const huggingFaceCache = "/.cache/huggingface/download/"

// Names that other programs give to a file until they have received all of it.
var (
	// The AWS command line interface receives NAME as NAME.XXXXXXXX, where the X are
	// hexadecimal digits in capital and small letters (random_file_extension in
	// s3transfer/utils.py).
	awsName = regexp.MustCompile(`\A.+\.([0-9A-Fa-f]{8})\z`)
	// azcopyTempDownloadPrefix in AzCopy's ste/xfer-remoteToLocal-file.go.
	azcopyName = regexp.MustCompile(`\A\.azDownload-[0-9a-f-]{36}-`)
	// Ollama's server/download.go.
	ollamaName = regexp.MustCompile(`\Asha256-[0-9a-f]{64}-partial(-[0-9]+)?\z`)
)

// aria2Suffix is the suffix of the file in which aria2 keeps the state of a download,
// beside the file that it downloads, until that is complete.
const aria2Suffix = ".aria2"

// checkAllFinished returns what checkFinished does for any directory of a listing.
func checkAllFinished(listing []layer.SourceEntry) error {
	dirs := map[string][]layer.SourceEntry{}
	for _, e := range listing {
		dir := path.Dir(e.Path)
		dirs[dir] = append(dirs[dir], e)
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		if err := checkFinished(dir, dirs[dir]); err != nil {
			return err
		}
	}
	return nil
}

// checkFinished returns a failure for the first packaged file of a directory that a
// program has not finished to write, as far as its name is conclusive. entries are all of
// the directory.
func checkFinished(dir string, entries []layer.SourceEntry) error {
	files := map[string]bool{}
	for _, e := range entries {
		files[path.Base(e.Path)] = e.Mode.IsRegular()
	}
	for _, e := range entries {
		name := path.Base(e.Path)
		if e.Excluded || !files[name] {
			continue
		}
		if writer := unfinishedBy(dir, name, files); writer != "" {
			return failure.New(v1alpha1.ReasonSourceIncomplete,
				"%q is a temporary file of %s, so that the model is incomplete: wait until that has ended; if it was interrupted, delete the file and start it again; then retry",
				text.OneLine(e.Path, maxShownPath), writer)
		}
	}
	return nil
}

// maxShownPath is how many characters of a path a message holds.
const maxShownPath = 200

// unfinishedBy returns which program has not finished to write a file, or "" if the
// name is not conclusive. files are the files of its directory.
func unfinishedBy(dir, name string, files map[string]bool) string {
	for element := range strings.SplitSeq(dir, "/") {
		if writer := unfinishedDirs[element]; writer != "" {
			return writer
		}
	}
	complete, isState := strings.CutSuffix(name, aria2Suffix)
	switch {
	case isRsyncTemporary(name, files):
		return "rsync"
	case isState && files[complete]:
		return "aria2"
	case isAWSTemporary(name):
		return "the AWS command line interface"
	case azcopyName.MatchString(name):
		return "AzCopy"
	case ollamaName.MatchString(name):
		return "Ollama"
	case strings.Contains("/"+dir+"/", huggingFaceCache):
		return ""
	}
	for suffix, writer := range unfinishedSuffixes {
		if name != suffix && strings.HasSuffix(name, suffix) {
			return writer
		}
	}
	return ""
}

func isAWSTemporary(name string) bool {
	parts := awsName.FindStringSubmatch(name)
	return parts != nil && isMixed(parts[1])
}

// isMixed reports whether a suffix has capital and small letters in the order of no
// word.
func isMixed(suffix string) bool {
	return capitalInside.MatchString(suffix) && smallLetter.MatchString(suffix)
}

func isRsyncTemporary(name string, files map[string]bool) bool {
	parts := rsyncName.FindStringSubmatch(name)
	if parts == nil {
		return false
	}
	complete, suffix := parts[1], parts[2]
	mixed := isMixed(suffix)
	if !files[complete] {
		return mixed && !twoWords.MatchString(suffix)
	}
	return mixed || letter.MatchString(suffix) && digit.MatchString(suffix) && !checksumOrFormat.MatchString(suffix)
}

// unreadable returns the failure of a file that the build may not read, although its
// name may be that of a temporary file of rsync, or nil for any other.
func unreadable(name string, err error) error {
	if !errors.Is(err, fs.ErrPermission) || !rsyncName.MatchString(path.Base(name)) {
		return nil
	}
	return failure.New(v1alpha1.ReasonSourceUnreadable,
		"the build cannot read %q: if it is a temporary file of rsync, wait until the copy has ended, or delete the file if it was interrupted; otherwise make it readable for all users",
		text.OneLine(name, maxShownPath)).WithCause(errors.Join(ErrMaybeTemporary, err))
}
