package dist

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"sigs.k8s.io/yaml"
)

const (
	// pluginDir is the directory of kubectl kiln in the checkout.
	pluginDir = "cmd/kubectl-kiln"
	// pluginVersion is the variable of its version.
	pluginVersion = "github.com/modelkiln/modelkiln/cmd/kubectl-kiln/internal/command.release"
)

// plugin is the manifest of kubectl kiln for Krew
// (https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/).
type plugin struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Metadata   pluginName `json:"metadata"`
	Spec       pluginSpec `json:"spec"`
}

type pluginName struct {
	Name string `json:"name"`
}

type pluginSpec struct {
	Version          string           `json:"version"`
	Homepage         string           `json:"homepage"`
	ShortDescription string           `json:"shortDescription"`
	Description      string           `json:"description"`
	Platforms        []pluginPlatform `json:"platforms"`
}

type pluginPlatform struct {
	Selector struct {
		MatchLabels struct {
			OS   string `json:"os"`
			Arch string `json:"arch"`
		} `json:"matchLabels"`
	} `json:"selector"`
	URI    string `json:"uri"`
	SHA256 string `json:"sha256"`
	Bin    string `json:"bin"`
}

// String returns the platform as Go writes it, for example linux/amd64.
func (p pluginPlatform) String() string {
	return p.Selector.MatchLabels.OS + "/" + p.Selector.MatchLabels.Arch
}

// manifest returns the plugin's manifest for the release, without checksums, with the
// platforms that the options select.
func (o Options) manifest() (plugin, error) {
	var m plugin
	content, err := os.ReadFile(filepath.Join(o.Root, pluginDir, "krew.yaml"))
	if err != nil {
		return m, err
	}
	// The bot of Krew, krew-release-bot, calls this function with the URI as a template.
	functions := template.FuncMap{"addURIAndSha": func(uri, tag string) string {
		return "uri: " + strings.ReplaceAll(uri, "{{ .TagName }}", tag)
	}}
	parsed, err := template.New("krew.yaml").Funcs(functions).Parse(string(content))
	if err != nil {
		return m, err
	}
	var rendered bytes.Buffer
	if err := parsed.Execute(&rendered, map[string]string{"TagName": o.Version}); err != nil {
		return m, err
	}
	if err := yaml.UnmarshalStrict(rendered.Bytes(), &m); err != nil {
		return m, fmt.Errorf("%s/krew.yaml: %w", pluginDir, err)
	}
	m.Spec.Platforms, err = selectPlatforms(m.Spec.Platforms, o.PluginPlatforms)
	return m, err
}

// selectPlatforms returns the platforms in a list that is separated by commas; all if it
// is empty.
func selectPlatforms(all []pluginPlatform, list string) ([]pluginPlatform, error) {
	if list == "" {
		return all, nil
	}
	var selected []pluginPlatform
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(all, func(p pluginPlatform) bool { return p.String() == name })
		if i < 0 {
			return nil, fmt.Errorf("--plugin-platforms: kubectl kiln is not released for %q, but for %s", name, names(all))
		}
		selected = append(selected, all[i])
	}
	return selected, nil
}

func names(platforms []pluginPlatform) string {
	var all []string
	for _, p := range platforms {
		all = append(all, p.String())
	}
	return strings.Join(all, ",")
}

// writeLicenses writes the licenses of the plugin and of all modules in it to its
// directory kodata.
func (r *release) writeLicenses(ctx context.Context) error {
	return r.run(exec.CommandContext(ctx, "go", "run", "./test/notices", "-platforms="+names(r.plugin.Spec.Platforms), "./"+pluginDir))
}

// compile compiles the plugin for a platform, and writes the program to a file.
func (r *release) compile(ctx context.Context, p pluginPlatform, to string) error {
	cmd := exec.CommandContext(ctx, "go", "-C", pluginDir, "build", "-trimpath", "-ldflags=-s -w -X "+pluginVersion+"="+r.Version, "-o", to, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.Selector.MatchLabels.OS, "GOARCH="+p.Selector.MatchLabels.Arch)
	return r.run(cmd)
}

// run runs a program in the checkout.
func (r *release) run(cmd *exec.Cmd) error {
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.Root, r.Progress, r.Progress
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return nil
}

// writePlugin writes an archive of kubectl kiln for each platform, and its manifest with
// their checksums.
func (r *release) writePlugin(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "modelkiln-plugin-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	committed, err := r.commitTime(ctx)
	if err != nil {
		return err
	}
	for i := range r.plugin.Spec.Platforms {
		p := &r.plugin.Spec.Platforms[i]
		program := filepath.Join(dir, p.Bin)
		if err := r.compiler(ctx, *p, program); err != nil {
			return err
		}
		archive, err := r.archive(program, committed)
		if err != nil {
			return err
		}
		p.SHA256 = fmt.Sprintf("%x", sha256.Sum256(archive))
		if err := r.write(path.Base(p.URI), archive); err != nil {
			return err
		}
	}
	manifest, err := yaml.Marshal(r.plugin)
	if err != nil {
		return err
	}
	return r.write(r.plugin.Metadata.Name+".yaml", manifest)
}

// archive returns an archive with a program and the licenses.
func (r *release) archive(program string, modified time.Time) ([]byte, error) {
	var b bytes.Buffer
	compressed, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	entries := tar.NewWriter(compressed)
	if err := addFile(entries, program, filepath.Base(program), 0o755, modified); err != nil {
		return nil, err
	}
	licenses := filepath.Join(r.Root, pluginDir, "kodata")
	err = filepath.WalkDir(licenses, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(licenses, file)
		if err != nil {
			return err
		}
		return addFile(entries, file, filepath.ToSlash(name), 0o644, modified)
	})
	if err != nil {
		return nil, err
	}
	if err := entries.Close(); err != nil {
		return nil, err
	}
	err = compressed.Close()
	return b.Bytes(), err
}

func addFile(to *tar.Writer, file, name string, mode int64, modified time.Time) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content)), ModTime: modified}
	if err := to.WriteHeader(header); err != nil {
		return err
	}
	_, err = to.Write(content)
	return err
}
