package chart

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
)

// The directories of files/ in the chart. The templates render all files of a directory
// in one way.
const (
	groupAlways            = "always"
	groupCRDs              = "crds"
	groupWorkflowTemplates = "workflow-templates"
	groupDeployment        = "deployment"
	groupDisruptionBudget  = "disruption-budget"
	groupWebhook           = "webhook"
	groupNamespaced        = "namespaced"
	groupEFS               = "efs"
	groupNetworkPolicy     = "network-policy"
	groupPolicy            = "policy"
	groupPolicyWorkflows   = "policy-workflows"
	groupServiceMonitor    = "service-monitor"
	groupPrometheusRule    = "prometheus-rule"
	groupDashboard         = "dashboard"
)

// kindGroups are the groups of the objects of deploy/default that values affect.
var kindGroups = map[string]string{
	"CustomResourceDefinition": groupCRDs,
	"ClusterWorkflowTemplate":  groupWorkflowTemplates,
	"Deployment":               groupDeployment,
	"PodDisruptionBudget":      groupDisruptionBudget,
}

// monitoringGroups are the groups of the objects of deploy/monitoring.
var monitoringGroups = map[string]string{
	"ServiceMonitor":     groupServiceMonitor,
	"ClusterRoleBinding": groupServiceMonitor,
	"PrometheusRule":     groupPrometheusRule,
	"ConfigMap":          groupDashboard,
}

// namespacedBindings are the bindings that deploy/components/namespaced removes.
var namespacedBindings = []string{"modelkiln-namespaced", "modelkiln-serving", "modelkiln-versions-from-workloads"}

// hashed matches the name of the generated ConfigMap. The chart has a checksum in an
// annotation of the pods instead.
var hashed = regexp.MustCompile(`\bmodelkiln-config-[a-z0-9]{10}\b`)

// objectFiles returns the objects of deploy/ as files of the chart, by path.
func objectFiles(root string) (map[string][]byte, error) {
	installed, err := Render(root, Kustomization{Resources: []string{"deploy/default"}})
	if err != nil {
		return nil, err
	}
	webhook, err := Render(root, Kustomization{Resources: []string{"deploy/webhook"}})
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, object := range installed.Resources() {
		if group := groupOf(object, webhook); group != "" {
			if err := add(files, group, object); err != nil {
				return nil, err
			}
		}
	}
	optional := map[string]Kustomization{
		groupEFS:             {Components: []string{"deploy/components/efs"}},
		groupNetworkPolicy:   {Components: []string{"deploy/components/network-policy"}},
		groupPolicy:          {Resources: []string{"deploy/policy"}},
		groupPolicyWorkflows: {Resources: []string{"deploy/policy/workflows"}},
	}
	for group, kustomization := range optional {
		of := func(*resource.Resource) string { return group }
		if err := addAll(files, root, kustomization, of); err != nil {
			return nil, err
		}
	}
	monitoring := func(object *resource.Resource) string { return monitoringGroups[object.GetKind()] }
	return files, addAll(files, root, Kustomization{Components: []string{"deploy/monitoring"}}, monitoring)
}

// addAll adds the objects of a kustomization, each to its group.
func addAll(files map[string][]byte, root string, k Kustomization, groupOf func(*resource.Resource) string) error {
	objects, err := Render(root, k)
	if err != nil {
		return err
	}
	for _, object := range objects.Resources() {
		if err := add(files, groupOf(object), object); err != nil {
			return err
		}
	}
	return nil
}

// groupOf returns the directory of an object of deploy/default, or "" if it is not a
// file: a chart does not contain its namespace, and values are its configuration.
func groupOf(object *resource.Resource, webhook resmap.ResMap) string {
	if group, ok := kindGroups[object.GetKind()]; ok {
		return group
	}
	if object.GetKind() == "Namespace" || object.GetKind() == "ConfigMap" && strings.HasPrefix(object.GetName(), "modelkiln-config-") {
		return ""
	}
	if object.GetKind() == "ClusterRoleBinding" && slices.Contains(namespacedBindings, object.GetName()) {
		return groupNamespaced
	}
	if _, err := webhook.GetById(object.CurId()); err == nil {
		return groupWebhook
	}
	return groupAlways
}

func add(files map[string][]byte, group string, object *resource.Resource) error {
	content, err := object.AsYAML()
	if err != nil {
		return err
	}
	path := fmt.Sprintf("files/%s/%s-%s.yaml", group, strings.ToLower(object.GetKind()), object.GetName())
	if _, exists := files[path]; exists {
		return fmt.Errorf("two objects of deploy/ are %s in the chart", path)
	}
	files[path] = hashed.ReplaceAll(content, []byte("modelkiln-config"))
	return nil
}
