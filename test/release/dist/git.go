package dist

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/modelkiln/modelkiln/test/release/chart"
)

// git runs git in the checkout and returns what it prints, without the last line break.
func (o Options) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", o.Root}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimRight(string(out), "\n"), nil
}

// checkCheckout returns an error if the checkout is not what the release will be tagged as.
func checkCheckout(ctx context.Context, o Options) error {
	if o.AllowChanges {
		return nil
	}
	changes, err := o.git(ctx, "status", "--porcelain")
	if err != nil {
		return err
	}
	if changes != "" {
		return fmt.Errorf("the checkout has changes that are not committed, and the tag %s would not contain them: commit or remove them:\n%s", o.Version, changes)
	}
	// The manifests name a version until the next one is prepared.
	released, err := o.git(ctx, "for-each-ref", "--format=%(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)", "refs/tags/"+o.Version)
	if err != nil || released == "" {
		return err
	}
	head, err := o.git(ctx, "rev-parse", "HEAD")
	if err == nil && head != released {
		err = fmt.Errorf("the tag %s exists and is that of another commit, whose images would be replaced: check out the tag, or prepare another version with make prepare-release", o.Version)
	}
	return err
}

// commitTime returns the time of the commit: the same commit gives the same archives.
func (o Options) commitTime(ctx context.Context) (time.Time, error) {
	seconds, err := o.git(ctx, "log", "-1", "--format=%ct")
	if err != nil {
		return time.Time{}, err
	}
	committed, err := strconv.ParseInt(seconds, 10, 64)
	return time.Unix(committed, 0), err
}

// commits returns the subjects of the commits since the release before, the newest first,
// and that release's tag. All commits if there is no release before.
func (o Options) commits(ctx context.Context) (subjects []string, since string, err error) {
	tags, err := o.git(ctx, "tag", "--merged", "HEAD", "--list", "v*")
	if err != nil {
		return nil, "", err
	}
	since, err = before(o.Version, strings.Fields(tags))
	if err != nil {
		return nil, "", err
	}
	revisions := "HEAD"
	if since != "" {
		revisions = since + "..HEAD"
	}
	log, err := o.git(ctx, "log", "--no-merges", "--format=%s", revisions)
	if err != nil || log == "" {
		return nil, since, err
	}
	return strings.Split(log, "\n"), since, nil
}

// before returns the latest release before a version, or "" if there is none. The release
// before a final one is a final one.
func before(version string, tags []string) (string, error) {
	of, err := semver.StrictNewVersion(chart.Version(version))
	if err != nil {
		return "", err
	}
	var latest *semver.Version
	for _, tag := range tags {
		v, err := semver.StrictNewVersion(chart.Version(tag))
		if err != nil || !v.LessThan(of) || (of.Prerelease() == "" && v.Prerelease() != "") {
			continue
		}
		if latest == nil || latest.LessThan(v) {
			latest = v
		}
	}
	if latest == nil {
		return "", nil
	}
	return "v" + latest.String(), nil
}
