package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

// How long the answers of the API server about a user are cached.
const (
	allowedFor = time.Minute
	deniedFor  = 10 * time.Second
)

// NewAuthorizer returns an authorizer that asks the API server, and caches the
// answers.
func NewAuthorizer(reviews authorizationclient.AuthorizationV1Interface) (authorizer.Authorizer, error) {
	asks, err := authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: reviews,
		AllowCacheTTL:             allowedFor,
		DenyCacheTTL:              deniedFor,
		// The API server waits for the webhook for some seconds.
		WebhookRetryBackoff: &wait.Backoff{Duration: 200 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 3},
	}.New()
	if err != nil {
		return nil, fmt.Errorf("create an authorizer: %w", err)
	}
	return asks, nil
}

// Authorized returns a handler that passes only reviews of requests which their user
// may make, so that nothing is read in a namespace for a user who has no access to
// it. The API server has checked this before it calls a webhook; another client may
// claim anything. Nothing in the responses depends on the namespace.
func Authorized(handler admission.Handler, access authorizer.Authorizer) admission.Handler {
	return admission.HandlerFunc(func(ctx context.Context, request admission.Request) admission.Response {
		if err := checkNamespace(request.AdmissionRequest); err != nil {
			return admission.Errored(http.StatusBadRequest, err)
		}
		for _, attributes := range attributesOf(request.AdmissionRequest) {
			decision, _, err := access.Authorize(ctx, attributes)
			if err != nil {
				return admission.Errored(http.StatusInternalServerError, fmt.Errorf("check the permissions of user %q: %w", request.UserInfo.Username, err))
			}
			if decision == authorizer.DecisionAllow {
				return handler.Handle(ctx, request)
			}
		}
		return admission.Denied(fmt.Sprintf("user %q may not %s %s in namespace %s", request.UserInfo.Username, verbsOf(request.Operation)[0], request.Resource.Resource, request.Namespace))
	})
}

// checkNamespace returns an error if a review is not one of an object in the
// review's namespace. A controller may leave the namespace out of the object.
func checkNamespace(request admissionv1.AdmissionRequest) error {
	if request.Namespace == "" {
		return fmt.Errorf("the review names no namespace")
	}
	if len(verbsOf(request.Operation)) == 0 {
		return fmt.Errorf("the operation %q is not reviewed", request.Operation)
	}
	raw := request.Object.Raw
	if request.Operation == admissionv1.Delete {
		raw = request.OldObject.Raw
	}
	var object metav1.PartialObjectMetadata
	if err := json.Unmarshal(raw, &object); err != nil {
		return fmt.Errorf("decode the metadata of the object: %w", err)
	}
	if object.Namespace != "" && object.Namespace != request.Namespace {
		return fmt.Errorf("the object is of namespace %q, and the review of namespace %q", object.Namespace, request.Namespace)
	}
	return nil
}

// verbsOf returns the verbs of the requests that an operation can stand for.
func verbsOf(operation admissionv1.Operation) []string {
	switch operation {
	case admissionv1.Create:
		return []string{"create"}
	case admissionv1.Update:
		return []string{"update", "patch"}
	case admissionv1.Delete:
		return []string{"delete", "deletecollection"}
	default:
		return nil
	}
}

// attributesOf returns what the user of a request needs permission for: one of them
// suffices. The API server checks the creation of an object without its name, unless
// it is created by a patch.
func attributesOf(request admissionv1.AdmissionRequest) []authorizer.Attributes {
	resource := request.Resource
	if request.RequestResource != nil {
		resource = *request.RequestResource
	}
	names := []string{request.Name}
	if request.Operation == admissionv1.Create && request.Name != "" {
		names = []string{"", request.Name}
	}
	var all []authorizer.Attributes
	for _, verb := range verbsOf(request.Operation) {
		for _, name := range names {
			all = append(all, authorizer.AttributesRecord{
				User: userOf(request), Verb: verb, Namespace: request.Namespace, Name: name,
				APIGroup: resource.Group, APIVersion: resource.Version, Resource: resource.Resource, Subresource: request.SubResource,
				ResourceRequest: true,
			})
		}
	}
	return all
}

func userOf(request admissionv1.AdmissionRequest) user.Info {
	extra := map[string][]string{}
	for key, values := range request.UserInfo.Extra {
		extra[key] = values
	}
	return &user.DefaultInfo{Name: request.UserInfo.Username, UID: request.UserInfo.UID, Groups: request.UserInfo.Groups, Extra: extra}
}
