package command

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/text"
)

func (k *kiln) diff() *cobra.Command {
	access := &registryAccess{}
	cmd := &cobra.Command{
		Use:   "diff VERSION VERSION",
		Short: "Show which files differ between two ModelVersions, and what their images share",
		Long: `Show which files differ between two ModelVersions, and what their images share.

The lists of files are read from the images in the registry, with the credentials of
docker login. Layers are read only where the lists have no digest of a file.`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: k.completeTwoVersions,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := k.connect()
			if err != nil {
				return err
			}
			images, err := c.openTwo(cmd.Context(), *access, args)
			if err != nil {
				return err
			}
			d, err := compareImages(images[0], images[1])
			if err != nil {
				return err
			}
			return k.printDifference(d)
		},
	}
	access.define(cmd.Flags())
	return cmd
}

// openTwo reads the images of two ModelVersions.
func (c *cluster) openTwo(ctx context.Context, access registryAccess, args []string) (images [2]*storedImage, err error) {
	var versions [2]*v1alpha1.ModelVersion
	for i, arg := range args {
		name, err := versionName(arg)
		if err != nil {
			return images, err
		}
		if versions[i], err = c.version(ctx, name); err != nil {
			return images, err
		}
	}
	// Layers are read later with the same context, which must not end with the group.
	var group errgroup.Group
	for i, mv := range versions {
		group.Go(func() (err error) {
			images[i], err = access.open(ctx, mv)
			return err
		})
	}
	return images, group.Wait()
}

// change is one line of a diff.
type change struct {
	// sign is + for a file that was added, - for one that was removed, and ~ for one
	// that was changed.
	sign, path string
	size       int64
}

// difference is how the files and the layers of two images differ.
type difference struct {
	changes []change
	// files and bytes count those that are the same, layers and shared the layers that
	// both images have, and all counts the layers of the second image.
	files, bytes int64
	layers, all  int
	shared       int64
}

// compareImages returns how the second image differs from the first one.
func compareImages(before, after *storedImage) (difference, error) {
	var d difference
	same, err := sameContent(before, after)
	if err != nil {
		return d, err
	}
	old := before.manifest.Index()
	for _, now := range after.manifest.Entries {
		was, exists := old[now.Path]
		delete(old, now.Path)
		switch {
		case now.Path == layer.RootDir:
		case !exists:
			d.changes = append(d.changes, change{"+", now.Path, now.Size})
		case isSame(was, now, same):
			if now.Type == layer.File {
				d.files, d.bytes = d.files+1, d.bytes+now.Size
			}
		default:
			d.changes = append(d.changes, change{"~", now.Path, now.Size})
		}
	}
	for _, path := range slices.Sorted(maps.Keys(old)) {
		if path != layer.RootDir {
			d.changes = append(d.changes, change{"-", path, old[path].Size})
		}
	}
	return d, d.countLayers(before, after)
}

// isSame reports whether two entries of the same path are the same. same has the paths of
// files whose content is.
func isSame(was, now layer.ManifestEntry, same map[string]bool) bool {
	if was.Type != now.Type || was.Size != now.Size || was.Mode != now.Mode || was.Link != now.Link {
		return false
	}
	return now.Type != layer.File || same[now.Path]
}

// sameContent returns the paths of files whose content is the same in both images. Where
// the lists do not tell, layers are read.
func sameContent(before, after *storedImage) (map[string]bool, error) {
	same, unknown := map[string]bool{}, map[string]bool{}
	inBefore, inAfter := map[int]bool{}, map[int]bool{}
	old := before.manifest.Index()
	for _, now := range after.manifest.Entries {
		was, exists := old[now.Path]
		if !exists || now.Type != layer.File || was.Type != layer.File || was.Size != now.Size {
			continue
		}
		isSame, known := before.compare(was, after, now)
		same[now.Path] = isSame
		if !known {
			unknown[now.Path] = true
			inBefore[was.Layer], inAfter[now.Layer] = true, true
		}
	}
	if len(unknown) == 0 {
		return same, nil
	}
	first, err := before.sums(before.layersWith(inBefore))
	if err != nil {
		return nil, err
	}
	second, err := after.sums(after.layersWith(inAfter))
	if err != nil {
		return nil, err
	}
	for path := range unknown {
		same[path] = first[path] == second[path] && first[path] != ""
	}
	return same, nil
}

// compare reports whether a file has the same content in another image, as far as the
// lists of both tell: by the digests of the file, or by that of the layer that holds it.
func (s *storedImage) compare(was layer.ManifestEntry, other *storedImage, now layer.ManifestEntry) (isSame, known bool) {
	if was.SHA256 != "" && now.SHA256 != "" {
		return was.SHA256 == now.SHA256, true
	}
	isSame = s.diffID(was) != "" && s.diffID(was) == other.diffID(now)
	return isSame, isSame
}

// diffID returns the digest of the archive that holds an entry, or "" if the list does
// not say.
func (s *storedImage) diffID(e layer.ManifestEntry) string {
	if !s.manifest.Streamed || e.Layer < 0 || e.Layer >= len(s.manifest.Layers) {
		return ""
	}
	return s.manifest.Layers[e.Layer].DiffID
}

// layersWith returns the numbers of the layers that have to be read for some entries: all
// of them if the list does not say which layer an entry is in.
func (s *storedImage) layersWith(numbers map[int]bool) []int {
	if !s.manifest.Streamed {
		return s.allLayers()
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(numbers)), func(n int) bool { return n < 0 || n >= len(s.manifest.Layers) })
}

// countLayers counts the layers that both images have.
func (d *difference) countLayers(before, after *storedImage) error {
	old, err := before.variants[0].Image.Manifest()
	if err != nil {
		return err
	}
	now, err := after.variants[0].Image.Manifest()
	if err != nil {
		return err
	}
	had := map[string]bool{}
	for _, blob := range old.Layers {
		had[blob.Digest.String()] = true
	}
	d.all = len(now.Layers)
	for _, blob := range now.Layers {
		if had[blob.Digest.String()] {
			d.layers, d.shared = d.layers+1, d.shared+blob.Size
		}
	}
	return nil
}

// quotedPath returns a path as a terminal can show it: quoted if it has characters that are
// not visible.
func quotedPath(path string) string {
	if text.Printable(path) == path {
		return path
	}
	return strconv.Quote(path)
}

func (k *kiln) printDifference(d difference) error {
	var rows [][]any
	for _, c := range d.changes {
		rows = append(rows, []any{c.sign, quotedPath(c.path), console.Size(c.size)})
	}
	if len(rows) > 0 {
		if err := k.printTable(table(columns("Change", "File", "Size"), rows), true); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(k.Out, "%s the same, %s; the images share %d of %d layers, %s\n", console.Count(d.files, "file"), console.Size(d.bytes), d.layers, d.all, console.Size(d.shared))
	return err
}
