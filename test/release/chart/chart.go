// Package chart makes the Helm chart deploy/chart from the kustomizations in deploy/:
// the objects that its templates read, the images and the configuration in its values,
// the schema of the configuration, and what Artifact Hub shows.
package chart

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Dir is the directory of the chart in the checkout.
const Dir = "deploy/chart"

// Generate writes what is generated in the chart of the checkout at root.
func Generate(root string) error {
	dir := filepath.Join(root, Dir)
	files, err := generated(root)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(dir, "files")); err != nil {
		return err
	}
	for path, content := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generated returns the generated files of the chart, by path.
func generated(root string) (map[string][]byte, error) {
	images, err := manifestImages(root)
	if err != nil {
		return nil, err
	}
	return Files(root, images)
}

func manifestImages(root string) (References, error) {
	installed, err := Render(root, Kustomization{Resources: []string{"deploy/default"}})
	if err != nil {
		return References{}, err
	}
	return Images(installed)
}

// Files returns the generated files of the chart of the checkout at root, by path, with
// other images.
func Files(root string, images References) (map[string][]byte, error) {
	files, err := objectFiles(root)
	if err != nil {
		return nil, err
	}
	named, err := manifestImages(root)
	if err != nil {
		return nil, err
	}
	for path, content := range files {
		files[path] = withPlaceholders(content, named)
	}
	for path, generate := range map[string]func([]byte) ([]byte, error){
		"values.yaml":        func(values []byte) ([]byte, error) { return withSections(values, root, images) },
		"values.schema.json": withConfigSchema,
	} {
		content, err := os.ReadFile(filepath.Join(root, Dir, path))
		if err != nil {
			return nil, err
		}
		if files[path], err = generate(content); err != nil {
			return nil, err
		}
	}
	tag := strings.TrimPrefix(named.Operator, OperatorImage+":")
	files["Chart.yaml"], err = metadata(root, tag, images, files)
	return files, err
}

// withPlaceholders returns an object in which the templates of the chart can replace the
// images and the namespace.
func withPlaceholders(object []byte, images References) []byte {
	return []byte(strings.NewReplacer(
		"image: "+images.Operator+"\n", "image: IMAGE_OPERATOR\n",
		"image: "+images.Step+"\n", "image: IMAGE_STEP\n",
		"image: "+images.Kaniko+"\n", "image: IMAGE_KANIKO\n",
		// A namespace can have the name 123.
		": modelkiln-system\n", ": \"RELEASE_NAMESPACE\"\n",
		// Also in the commands of alerts.
		"modelkiln-system", "RELEASE_NAMESPACE",
	).Replace(string(object)))
}

// withSections replaces the generated sections of values.yaml.
func withSections(values []byte, root string, images References) ([]byte, error) {
	config, err := os.ReadFile(filepath.Join(root, "deploy/manager/config.yaml"))
	if err != nil {
		return nil, err
	}
	values, err = section(values, "images", fmt.Sprintf("operator: %s\nstep: %s\nkaniko: %s\n", images.Operator, images.Step, images.Kaniko))
	if err != nil {
		return nil, err
	}
	return section(values, "config", string(config))
}

// section replaces what is between two comments, indented by two spaces.
func section(content []byte, name, by string) ([]byte, error) {
	begin, end := "  # begin "+name+": make generate\n", "  # end "+name+"\n"
	before, rest, found := bytes.Cut(content, []byte(begin))
	_, after, ended := bytes.Cut(rest, []byte(end))
	if !found || !ended {
		return nil, fmt.Errorf("%s/values.yaml has no lines %q and %q: restore them", Dir, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	var b bytes.Buffer
	b.Write(before)
	b.WriteString(begin)
	for _, line := range strings.SplitAfter(by, "\n") {
		if strings.TrimSpace(line) != "" {
			b.WriteString("  ")
		}
		b.WriteString(line)
	}
	b.WriteString(end)
	b.Write(after)
	return b.Bytes(), nil
}

// Outdated returns the paths of generated files that differ from those of the checkout.
func Outdated(root string) ([]string, error) {
	files, err := generated(root)
	if err != nil {
		return nil, err
	}
	var outdated []string
	for path, want := range files {
		got, err := os.ReadFile(filepath.Join(root, Dir, path))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if !bytes.Equal(want, got) {
			outdated = append(outdated, path)
		}
	}
	return outdated, nil
}
