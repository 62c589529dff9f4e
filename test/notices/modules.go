package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// imagePlatforms are those of the images (.ko.yaml).
const imagePlatforms = "linux/amd64,linux/arm64"

// thirdParty is the directory for the licenses of others.
const thirdParty = "third_party"

// legal matches the names of files with the terms of a license, and notice the
// names of those that accompany it.
var (
	legal  = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying)([-.].*)?$`)
	notice = regexp.MustCompile(`(?i)^(notice|patents|copyright)([-.].*)?$`)
)

// module is a module as go list prints it.
type module struct {
	Path, Version, Dir string
	Main               bool
}

// linkedPackage is a package that is linked into a program.
type linkedPackage struct {
	Dir    string
	Module *module
}

// linkedPackages returns the packages outside the standard library that are linked
// into a program, for any of the platforms.
func linkedPackages(ctx context.Context, program string, platforms []string) ([]linkedPackage, error) {
	var all []linkedPackage
	for _, platform := range platforms {
		system, architecture, found := strings.Cut(platform, "/")
		if !found {
			return nil, fmt.Errorf("-platforms: %q is not an operating system and an architecture, for example linux/amd64", platform)
		}
		cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-json=Dir,Module", ".")
		cmd.Dir = program
		cmd.Env = append(os.Environ(), "GOOS="+system, "GOARCH="+architecture, "CGO_ENABLED=0")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("list the packages of %s: %w", program, err)
		}
		for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
			var p linkedPackage
			if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("list the packages of %s: %w", program, err)
			}
			if p.Module != nil {
				all = append(all, p)
			}
		}
	}
	return all, nil
}

// goLicense returns the path of the license of the Go command that builds the
// programs, and of the standard library.
func goLicense(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find Go's directory: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "LICENSE"), nil
}

// legalFiles returns the licenses and notices of packages by their path in the
// image. It returns an error if a package has no license, neither
// in its directory nor in one above it in its module.
func legalFiles(packages []linkedPackage) (map[string]string, error) {
	found := map[string]string{}
	for _, p := range packages {
		target := filepath.Join(thirdParty, p.Module.Path+"@"+p.Module.Version)
		if p.Module.Main {
			target = ""
		}
		licensed := false
		for dir := p.Dir; ; dir = filepath.Dir(dir) {
			relative, err := filepath.Rel(p.Module.Dir, dir)
			if err != nil {
				return nil, err
			}
			has, err := addLegal(found, dir, filepath.Join(target, relative))
			if err != nil {
				return nil, err
			}
			licensed = licensed || has
			if relative == "." {
				break
			}
		}
		if !licensed {
			return nil, fmt.Errorf("no license found for %s of module %s@%s: add the name of its file to the regular expression legal in test/notices", p.Dir, p.Module.Path, p.Module.Version)
		}
	}
	return found, nil
}

// addLegal adds the licenses and notices in a directory, and reports whether there
// is a license.
func addLegal(to map[string]string, dir, target string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	licensed := false
	for _, entry := range entries {
		isLicense := legal.MatchString(entry.Name())
		if !entry.Type().IsRegular() || filepath.Ext(entry.Name()) == ".go" || (!isLicense && !notice.MatchString(entry.Name())) {
			continue
		}
		licensed = licensed || isLicense
		to[filepath.Join(target, entry.Name())] = filepath.Join(dir, entry.Name())
	}
	return licensed, nil
}
