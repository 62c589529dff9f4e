package webhook

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// fakeAuthorizer returns an authorizer that allows attributes by user, verb, group,
// resource, namespace and name.
func fakeAuthorizer(err error, allowed ...[6]string) authorizer.Authorizer {
	return authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if slices.Contains(allowed, [6]string{a.GetUser().GetName(), a.GetVerb(), a.GetAPIGroup(), a.GetResource(), a.GetNamespace(), a.GetName()}) {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionNoOpinion, "", err
	})
}

func TestAuthorized(t *testing.T) {
	pods := metav1.GroupVersionResource{Version: "v1", Resource: "pods"}
	jobs := metav1.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}
	review := func(edit func(*admissionv1.AdmissionRequest)) admissionv1.AdmissionRequest {
		request := admissionv1.AdmissionRequest{
			Operation: admissionv1.Create, Namespace: "team-a", Resource: pods, UserInfo: authenticationv1.UserInfo{Username: "ann"},
			Object: runtime.RawExtension{Raw: []byte(`{"metadata":{"namespace":"team-a"}}`)},
		}
		edit(&request)
		return request
	}
	ofJob := func(operation admissionv1.Operation) func(*admissionv1.AdmissionRequest) {
		return func(r *admissionv1.AdmissionRequest) { r.Operation, r.Resource, r.Name = operation, jobs, "train" }
	}
	access := fakeAuthorizer(nil,
		[6]string{"ann", "create", "", "pods", "team-a", ""},
		[6]string{"bob", "create", "", "pods", "team-a", "server-0"},
		[6]string{"ann", "patch", "batch", "jobs", "team-a", "train"},
		[6]string{"ann", "create", "kubeflow.org", "jobs", "team-a", ""},
		[6]string{"ann", "create", "batch", "jobs", "team-b", ""},
		[6]string{"ann", "delete", "", "pods", "team-a", "train"},
		[6]string{"system:anonymous", "create", "", "pods", "team-b", "x"},
	)
	for name, tt := range map[string]struct {
		edit   func(*admissionv1.AdmissionRequest)
		access authorizer.Authorizer
		code   int32 // 0 if the handler is called.
		want   string
	}{
		"a user who may create pods":               {func(*admissionv1.AdmissionRequest) {}, access, 0, ""},
		"an object that names no namespace":        {func(r *admissionv1.AdmissionRequest) { r.Object.Raw = []byte("{}") }, access, 0, ""},
		"a user who may create this pod":           {func(r *admissionv1.AdmissionRequest) { r.UserInfo.Username, r.Name = "bob", "server-0" }, access, 0, ""},
		"a user who may patch the Job":             {ofJob(admissionv1.Update), access, 0, ""},
		"the resource of the request, not its own": {func(r *admissionv1.AdmissionRequest) { r.Resource, r.RequestResource = jobs, &pods }, access, 0, ""},
		"a user who may not create Jobs":           {ofJob(admissionv1.Create), access, http.StatusForbidden, `user "ann" may not create jobs in namespace team-a`},
		"another namespace": {func(r *admissionv1.AdmissionRequest) {
			r.Namespace, r.Object.Raw = "team-b", nil
			r.Object.Raw = []byte("{}")
		}, access, http.StatusForbidden, `user "ann" may not create pods in namespace team-b`},
		"an object of another namespace": {func(r *admissionv1.AdmissionRequest) { r.Object.Raw = []byte(`{"metadata":{"namespace":"team-b"}}`) }, access, http.StatusBadRequest, `the object is of namespace "team-b", and the review of namespace "team-a"`},
		"no namespace":                   {func(r *admissionv1.AdmissionRequest) { r.Namespace = "" }, access, http.StatusBadRequest, "the review names no namespace"},
		"another operation":              {func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Connect }, access, http.StatusBadRequest, `the operation "CONNECT" is not reviewed`},
		"a user who may delete the pod": {func(r *admissionv1.AdmissionRequest) {
			r.Operation, r.Name, r.Object, r.OldObject = admissionv1.Delete, "train", runtime.RawExtension{}, r.Object
		}, access, 0, ""},
		"a user who may not delete all pods": {func(r *admissionv1.AdmissionRequest) {
			r.Operation, r.Object, r.OldObject = admissionv1.Delete, runtime.RawExtension{}, r.Object
		}, access, http.StatusForbidden, `user "ann" may not delete pods in namespace team-a`},
		"no object": {func(r *admissionv1.AdmissionRequest) { r.Object.Raw = nil }, access, http.StatusBadRequest, "decode the metadata of the object"},
		"no answer": {func(*admissionv1.AdmissionRequest) {}, fakeAuthorizer(errors.New("timeout")), http.StatusInternalServerError, `check the permissions of user "ann": timeout`},
	} {
		t.Run(name, func(t *testing.T) {
			called := false
			handler := Authorized(admission.HandlerFunc(func(context.Context, admission.Request) admission.Response {
				called = true
				return admission.Allowed("")
			}), tt.access)
			got := handler.Handle(t.Context(), admission.Request{AdmissionRequest: review(tt.edit)})
			assert.Equal(t, tt.code == 0, called)
			assert.Equal(t, tt.code == 0, got.Allowed)
			if tt.code != 0 {
				assert.Equal(t, tt.code, got.Result.Code)
				assert.Contains(t, got.Result.Message, tt.want)
			}
		})
	}
}
