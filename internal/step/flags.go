package step

import (
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// registryFlags are the flags of the steps that access registries.
type registryFlags struct {
	image          string
	plainHTTP      []string
	pushSecret     string
	pushSecretDir  string
	registryCAFile string
	// local replaces the push Secret and the other flags where no pod has them; nil in
	// a pod.
	local *registry.Config
}

func (f *registryFlags) defineRegistry(flags *flag.FlagSet) {
	flags.StringVar(&f.image, "image", "", "the `reference` of the image to push, with a tag")
	flags.Func("plain-http", "the registry `hosts` that are accessed over plain HTTP, separated by commas", list(&f.plainHTTP))
	flags.StringVar(&f.pushSecret, "push-secret", "", "the `name` of the Secret with the push credentials, used in messages only")
	flags.StringVar(&f.pushSecretDir, "push-secret-dir", "/push-secret", "the `directory` where the push Secret is mounted; without a config.json in it, the push is anonymous or, to registries of clouds, by the identity of the service account")
	flags.StringVar(&f.registryCAFile, "registry-ca", "/registry-ca/ca.crt", "the `file` with the certificates of private authorities, in PEM; ignored if it does not exist")
}

// credentialsFile returns the path of the push credentials, which may not exist.
func (f *registryFlags) credentialsFile() string {
	return filepath.Join(f.pushSecretDir, "config.json")
}

// account returns what messages call the credentials.
func (f *registryFlags) account() string {
	if f.pushSecret == "" {
		return "the push Secret"
	}
	return "Secret " + f.pushSecret
}

// config reads the credentials, if there are any. For registries of clouds, they fall
// back to the identity of the service account.
func (f *registryFlags) config() (registry.Config, error) {
	if f.local != nil {
		return *f.local, nil
	}
	credentials, err := registry.ReadOptionalCredentials(f.credentialsFile(), f.account())
	if err != nil {
		return registry.Config{}, f.invalidSecret(err)
	}
	return registry.Config{
		PlainHTTP:   f.plainHTTP,
		CAFile:      f.registryCAFile,
		Credentials: credentials,
	}.WithIdentity()
}

// imageFlags are the flags of the steps that build an image.
type imageFlags struct {
	registryFlags
	sourceFlags
	baseImage                            string
	model, modelVersion, modelVersionUID string
	createdBy                            string
	created                              time.Time
	compression                          string
	progressFile                         string
}

func (f *imageFlags) defineImage(flags *flag.FlagSet, defaultCreated, defaultCompression, compressionUsage string) {
	f.defineRegistry(flags)
	f.defineSource(flags)
	flags.StringVar(&f.baseImage, "base-image", "", "the `reference` of the base image, or scratch")
	flags.StringVar(&f.model, "model", "", "the `name` of the Model")
	flags.StringVar(&f.modelVersion, "model-version", "", "the `name` of the ModelVersion")
	flags.StringVar(&f.modelVersionUID, "model-version-uid", "", "the `UID` of the ModelVersion")
	flags.StringVar(&f.createdBy, "created-by", "", "the `user` or job that created the model, URL query-escaped")
	flags.Func("created", createdUsage+"; "+defaultCreated+" if empty", timestamp(&f.created))
	flags.StringVar(&f.compression, "compression", defaultCompression, compressionUsage)
	flags.StringVar(&f.progressFile, "progress-file", os.Getenv(console.ProgressFileVariable), "the `file` from which Argo reads the progress; no progress is reported if empty")
}

const createdUsage = "the `time`, in the format of RFC 3339, at which the ModelVersion was created, which the image has as its own"

// timestamp returns the parser of a flag whose value is a time, which may be empty.
func timestamp(into *time.Time) func(string) error {
	return func(value string) error {
		*into = time.Time{}
		if value == "" {
			return nil
		}
		parsed, err := time.Parse(time.RFC3339, value)
		if err != nil || parsed.Year() < 1 || parsed.IsZero() {
			return errors.New("must be a time such as 2006-01-02T15:04:05Z")
		}
		*into = parsed.UTC().Truncate(time.Second)
		return nil
	}
}

// modelDirectory returns the parser of a flag whose value is the directory of the model
// in the image.
func modelDirectory(into *string) func(string) error {
	return func(value string) error {
		*into = ""
		if value == "" || value == v1alpha1.ModelPath {
			return nil
		}
		if problem := contract.ModelPathProblem(value); problem != "" {
			return errors.New(problem)
		}
		*into = strings.TrimPrefix(value, "/")
		return nil
	}
}

// list returns the parser of a flag whose value is a comma-separated list, which
// may be empty.
func list(into *[]string) func(string) error {
	return func(value string) error {
		*into = nil
		for item := range strings.SplitSeq(value, ",") {
			if item = strings.TrimSpace(item); item != "" {
				*into = append(*into, item)
			}
		}
		return nil
	}
}

// lines returns the parser of a flag whose value is a list with one item a line, which
// may be empty.
func lines(into *[]string) func(string) error {
	return func(value string) error {
		*into = nil
		for line := range strings.Lines(value) {
			if line = strings.TrimRight(line, "\r\n"); line != "" {
				*into = append(*into, line)
			}
		}
		return nil
	}
}

// choice returns the parser of a flag that is true for the value yes, and false for the
// value no, which is the default.
func choice(into *bool, no, yes string) func(string) error {
	return func(value string) error {
		if value != "" && value != no && value != yes {
			return fmt.Errorf("must be %s or %s", no, yes)
		}
		*into = value == yes
		return nil
	}
}

// boolean returns the parser of a flag whose value is true or false. An empty
// value is false.
func boolean(into *bool) func(string) error {
	return func(value string) error {
		if value == "" {
			*into = false
			return nil
		}
		parsed, err := strconv.ParseBool(value)
		if err != nil {
			return errors.New("must be true or false")
		}
		*into = parsed
		return nil
	}
}

// unescape decodes URL query-escaped text. Text that is not validly escaped,
// which a user may have written, is returned unchanged.
func unescape(text string) string {
	if decoded, err := url.QueryUnescape(text); err == nil {
		return decoded
	}
	return text
}

// int64Variable returns the number in an environment variable, or 0.
func int64Variable(name string) int64 {
	n, err := strconv.ParseInt(os.Getenv(name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
