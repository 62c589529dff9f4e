package command

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"

	"github.com/modelkiln/modelkiln/internal/text"
)

// maxQuoted is the number of characters of a message of the API server that an error
// repeats.
const maxQuoted = 500

// explain returns an error of a request as a sentence, with what to do. kind and name
// are of the object of the request; the name is empty for a list.
func (c *cluster) explain(err error, kind, name string) error {
	switch {
	case err == nil:
		return nil
	case isMissingKind(err) && kind == workflowKind.Kind:
		return unreadableError{errors.New("the cluster does not have Argo's kinds: install Argo Workflows, then run: kubectl kiln doctor")}
	case isMissingKind(err):
		return unreadableError{fmt.Errorf("the cluster does not have the kind %s: install Modelkiln (deploy/README.md), then run: kubectl kiln doctor", kind)}
	case isMissingNamespace(err):
		return fmt.Errorf("the namespace %s does not exist: create it with kubectl create namespace %s, or name another one with -n", c.namespace, c.namespace)
	case apierrors.IsAlreadyExists(err):
		return fmt.Errorf("%s %s exists in namespace %s already: choose another name, or %s", kind, name, c.namespace, c.listCommand(kind))
	case apierrors.IsNotFound(err) && name != "":
		return fmt.Errorf("%s %s does not exist in namespace %s: %s", kind, name, c.namespace, c.listCommand(kind))
	case apierrors.IsForbidden(err):
		return unreadableError{fmt.Errorf("%s. If this is about permissions, ask the platform team for a RoleBinding to the ClusterRole %s in namespace %s", quote(err), roleFor(err), c.namespace)}
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the cluster at %s rejects the credentials of the kubeconfig file: log in again, or choose another --context", c.host)
	case isUnreachable(err):
		return fmt.Errorf("the cluster at %s cannot be reached: check the network, --context and KUBECONFIG (%s)", c.host, quote(rootOf(err)))
	default:
		return errors.New(quote(err))
	}
}

// unreadableError is the error of a request for what the user may not access, or the
// cluster does not have. What else was read counts.
type unreadableError struct{ error }

func isUnreadable(err error) bool {
	var unreadable unreadableError
	return errors.As(err, &unreadable)
}

func (c *cluster) listCommand(kind string) string {
	if kind == "ModelVersion" {
		return fmt.Sprintf("list those that do with: kubectl kiln get -n %s", c.namespace)
	}
	return fmt.Sprintf("list those that do with: kubectl get %ss -n %s", strings.ToLower(kind), c.namespace)
}

// roleFor returns the shipped role that has the permission that a request lacked.
func roleFor(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		for _, read := range []string{" cannot get ", " cannot list ", " cannot watch "} {
			if strings.Contains(status.Status().Message, read) {
				return "modelkiln-view"
			}
		}
	}
	return "modelkiln-edit"
}

// isMissingKind reports whether the API server does not serve the kind of a request.
func isMissingKind(err error) bool {
	var discovered *discovery.ErrGroupDiscoveryFailed
	var status apierrors.APIStatus
	if meta.IsNoMatchError(err) || errors.As(err, &discovered) {
		return true
	}
	// The API server knows neither the group nor the name of what is missing.
	return apierrors.IsNotFound(err) && errors.As(err, &status) && (status.Status().Details == nil || status.Status().Details.Name == "")
}

// isMissingNamespace reports whether the API server did not find the namespace of an
// object that was to be created.
func isMissingNamespace(err error) bool {
	var status apierrors.APIStatus
	return apierrors.IsNotFound(err) && errors.As(err, &status) && status.Status().Details != nil && status.Status().Details.Kind == "namespaces"
}

// isUnreachable reports whether a request did not reach an API server.
func isUnreachable(err error) bool {
	var network net.Error
	var request *url.Error
	return errors.As(err, &request) || errors.As(err, &network)
}

// rootOf returns the cause of an error without the URL of the request.
func rootOf(err error) error {
	var request *url.Error
	if errors.As(err, &request) {
		return request.Err
	}
	return err
}

func quote(err error) string { return text.Sentence(err.Error(), maxQuoted) }
