package workflow

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// PlatformTemplates returns the names of the ClusterWorkflowTemplates that the platform
// team has configured, in order.
func PlatformTemplates(opts Options) []string {
	names := slices.Concat([]string{opts.WorkflowTemplate, opts.StreamTemplate},
		slices.Collect(maps.Values(opts.NamespaceTemplates)), slices.Collect(maps.Values(opts.NamespaceStreamTemplates)))
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "" })
}

// ListDifferences returns which lists of sources differ between the operator's
// configuration and a ClusterWorkflowTemplate, one sentence without a full stop for each.
// Both are necessary: the operator starts no build of other sources, and builds that users
// submit know the template only. A template without the step mount-check has no lists.
func ListDifferences(template *wfv1.ClusterWorkflowTemplate, opts Options) []string {
	args, found := mountCheckArgs(template.Spec)
	if !found {
		return nil
	}
	var differences []string
	for _, list := range []struct {
		flag, field string
		configured  []string
	}{
		{"--allowed-paths", "allowedHostPaths", opts.HostPaths.Allowed},
		{"--denied-paths", "deniedHostPaths", opts.HostPaths.Denied},
		{"--allowed-nfs", "allowedNFS", opts.NFS.Allowed},
		{"--allowed-s3", "allowedS3", opts.S3.Allowed},
		{"--allowed-hugging-face", "allowedHuggingFace", opts.HuggingFace.Allowed},
	} {
		configured := sortedList(strings.Join(list.configured, ","))
		if got := sortedList(valueOf(args, list.flag)); !slices.Equal(got, configured) {
			differences = append(differences, fmt.Sprintf("%s of mount-check in ClusterWorkflowTemplate %s is %q, and %s in the operator's configuration is %q: write the same list into both",
				list.flag, template.Name, strings.Join(got, ","), list.field, strings.Join(configured, ",")))
		}
	}
	return differences
}

// mountCheckArgs returns the arguments of the step mount-check.
func mountCheckArgs(spec wfv1.WorkflowSpec) (args []string, found bool) {
	for _, template := range spec.Templates {
		if template.ContainerSet == nil {
			continue
		}
		for _, container := range template.ContainerSet.Containers {
			if container.Name == contract.StepMountCheck {
				return container.Args, true
			}
		}
	}
	return nil, false
}

// valueOf returns the value of a flag in arguments of the form --flag=value, the last one
// if there are several, or an empty string.
func valueOf(args []string, flag string) string {
	for _, arg := range slices.Backward(args) {
		if value, found := strings.CutPrefix(arg, flag+"="); found {
			return value
		}
	}
	return ""
}

// sortedList returns the entries of a list in order.
func sortedList(list string) []string {
	entries := slices.DeleteFunc(strings.Split(list, ","), func(entry string) bool { return entry == "" })
	slices.Sort(entries)
	return slices.Compact(entries)
}
