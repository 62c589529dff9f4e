package command

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// release is the version of this program. The linker sets it in a release
// (-X …/internal/command.release=v0.2.0).
var release = ""

// buildInfo describes this program.
type buildInfo struct{ Version, Revision, Go, Platform string }

func versionOf() buildInfo {
	info := buildInfo{Version: release, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if read, ok := debug.ReadBuildInfo(); ok {
		info.Version = cmp.Or(info.Version, read.Main.Version)
		for _, setting := range read.Settings {
			if setting.Key == "vcs.revision" {
				info.Revision = setting.Value
			}
		}
	}
	info.Version = cmp.Or(info.Version, "(devel)")
	return info
}

// templateNames are the ClusterWorkflowTemplates of an installation.
var templateNames = []string{contract.BuildTemplate, contract.StreamTemplate, contract.PromoteTemplate}

func (k *kiln) version() *cobra.Command {
	var clientOnly bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this program, of Kubernetes and of the workflow templates",
		Args:  cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&clientOnly, "client", false, "print the version of this program only, without a request to the cluster")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		info := versionOf()
		line := fmt.Sprintf("kubectl kiln  %s  %s  %s", info.Version, info.Go, info.Platform)
		if info.Revision != "" {
			line += "  " + info.Revision
		}
		if _, err := fmt.Fprintln(k.Out, line); err != nil || clientOnly {
			return err
		}
		c, err := k.connect()
		if err != nil {
			return err
		}
		server, err := c.kubernetesVersion()
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(k.Out, "Kubernetes    %s\n", server); err != nil {
			return err
		}
		for _, name := range templateNames {
			if _, err := fmt.Fprintf(k.Out, "template      %s  %s\n", name, c.templateImage(cmd.Context(), name)); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

func (c *cluster) kubernetesVersion() (string, error) {
	clients, err := c.typed()
	if err != nil {
		return "", err
	}
	version, err := clients.Discovery().ServerVersion()
	if err != nil {
		return "", c.explain(err, "Namespace", c.namespace)
	}
	return version.GitVersion, nil
}

// templateImage returns the image of the steps of a ClusterWorkflowTemplate, whose tag is
// the release of Modelkiln that it is of, or why it is not known.
func (c *cluster) templateImage(ctx context.Context, name string) string {
	template, err := c.template(ctx, name)
	if err != nil {
		return quote(err)
	}
	return stepImage(template)
}

// template reads a ClusterWorkflowTemplate.
func (c *cluster) template(ctx context.Context, name string) (*unstructured.Unstructured, error) {
	template := &unstructured.Unstructured{}
	template.SetGroupVersionKind(workflowKind.GroupVersion().WithKind("ClusterWorkflowTemplate"))
	err := c.Get(ctx, client.ObjectKey{Name: name}, template)
	return template, err
}

// stepImage returns the image of the first step of a template, or "unknown".
func stepImage(template *unstructured.Unstructured) string {
	templates, _, _ := unstructured.NestedSlice(template.Object, "spec", "templates")
	for _, t := range templates {
		if fields, ok := t.(map[string]any); ok {
			containers, _, _ := unstructured.NestedSlice(fields, "containerSet", "containers")
			for _, container := range containers {
				if c, ok := container.(map[string]any); ok && (c["name"] == contract.StepMountCheck || c["name"] == contract.StepPromote) {
					return fmt.Sprint(c["image"])
				}
			}
		}
	}
	return "unknown"
}
