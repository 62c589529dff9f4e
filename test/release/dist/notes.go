package dist

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/modelkiln/modelkiln/test/release/chart"
)

// writeNotes writes the text of the release page.
func (r *release) writeNotes(ctx context.Context) error {
	subjects, since, err := r.commits(ctx)
	if err != nil {
		return err
	}
	return r.write("release-notes.md", []byte(r.notes(subjects, since)))
}

func (r *release) notes(subjects []string, since string) string {
	const repository = "https://github.com/modelkiln/modelkiln"
	var b strings.Builder
	fmt.Fprintf(&b, "# Modelkiln %s\n\n", r.Version)
	fmt.Fprintf(&b, "Read what breaks, and how to upgrade: [CHANGELOG](%s/blob/%s/CHANGELOG.md), [deploy/README.md](%s/blob/%s/deploy/README.md#upgrade).\n\n", repository, r.Version, repository, r.Version)
	b.WriteString("## Install\n\nInstall Argo Workflows first. Then one of:\n\n```sh\n")
	fmt.Fprintf(&b, "kubectl apply --server-side -f %s/releases/download/%s/install.yaml\n", repository, r.Version)
	fmt.Fprintf(&b, "kubectl apply --server-side -k '%s/deploy/default?ref=%s'\n", strings.TrimPrefix(repository, "https://"), r.Version)
	fmt.Fprintf(&b, "helm install modelkiln oci://%s/charts/modelkiln --version %s -n modelkiln-system --create-namespace\n", r.Repository, chart.Version(r.Version))
	b.WriteString("```\n\n## kubectl kiln\n\nThe plugin of kubectl, for Linux and macOS. With [Krew](https://krew.sigs.k8s.io):\n\n```sh\n")
	fmt.Fprintf(&b, "kubectl krew install --manifest-url=%s/releases/download/%s/%s.yaml\n", repository, r.Version, r.plugin.Metadata.Name)
	b.WriteString("```\n\n## Images\n\n")
	for _, image := range r.images.All() {
		fmt.Fprintf(&b, "- `%s`\n", image)
	}
	fmt.Fprintf(&b, "- the chart: `%s/charts/modelkiln@%s`\n", r.Repository, r.chartDigest)
	b.WriteString("\n## Commits\n\n")
	if since != "" {
		fmt.Fprintf(&b, "Since %s:\n\n", since)
	}
	for _, subject := range subjects {
		fmt.Fprintf(&b, "- %s\n", escape(subject))
	}
	return b.String()
}

// escape escapes what Markdown would take for markup in the subject of a commit.
func escape(subject string) string {
	return strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "<", `\<`, "[", `\[`, "@", "@\u200b").Replace(subject)
}

// writeChecksums writes the SHA-256 of all files, as sha256sum --check reads them.
func (r *release) writeChecksums(context.Context) error {
	var b strings.Builder
	err := filepath.WalkDir(r.Output, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(r.Output, path)
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(content), filepath.ToSlash(relative))
		return err
	})
	if err != nil {
		return err
	}
	return r.write("checksums.txt", []byte(b.String()))
}
