package workload

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// AllowsVersions reports whether a namespace allows its workloads to create
// ModelVersions.
func AllowsVersions(namespace metav1.Object) bool {
	return namespace.GetLabels()[v1alpha1.LabelVersionsFromWorkloads] == "true"
}

// annotationUIDRange is OpenShift's annotation on a namespace: the users as which its
// pods run, as in 1000700000/10000. The security context constraint restricted-v2
// assigns one of them to each container, and refuses any other
// (https://docs.redhat.com/en/documentation/openshift_container_platform, Managing
// security context constraints).
const annotationUIDRange = "openshift.io/sa.scc.uid-range"

// AssignsUsers reports whether a namespace assigns users to containers that name none,
// as those of OpenShift do.
func AssignsUsers(namespace metav1.Object) bool {
	return namespace.GetAnnotations()[annotationUIDRange] != ""
}
