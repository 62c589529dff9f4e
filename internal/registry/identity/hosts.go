package identity

import (
	"regexp"
	"slices"
)

// cloud is a cloud with registries and with identities for pods.
type cloud struct {
	// registries is what messages call its registries, and name the cloud itself.
	registries, name string
	// helpers are the credential helpers of Docker that log in to the registries.
	helpers []string
	// hosts match the hosts of the registries, completely and without a port: a token
	// must not be sent to a host of anybody else.
	hosts []*regexp.Regexp
	// annotation is the annotation that gives a service account an identity, and trust
	// is what allows the service account to use it.
	annotation, trust string
	// role is what allows an identity to push.
	role string
	// obtain returns credentials for a registry. The error is an *Error.
	obtain func(r request) (Credential, error)
}

// supported are all clouds.
//
// Sources of the hosts: ecr-login/api/client.go in
// github.com/awslabs/amazon-ecr-credential-helper, whose pattern also accepts
// "regions" such as s3; pkg/v1/google/keychain.go in go-containerregistry and
// https://cloud.google.com/artifact-registry/docs/repositories; and
// https://learn.microsoft.com/azure/container-registry/container-registry-endpoints.
var supported = []cloud{
	{
		registries: "Amazon ECR", name: amazonName, helpers: []string{"ecr-login"},
		hosts:      []*regexp.Regexp{privateECR, publicECR},
		annotation: "eks.amazonaws.com/role-arn=ROLE_ARN", trust: "correct the role's trust policy",
		role:   "the policy AmazonEC2ContainerRegistryPowerUser",
		obtain: amazon,
	},
	{
		registries: "Google Artifact Registry", name: "Google Cloud", helpers: []string{"gcloud", "gcr"},
		hosts: []*regexp.Regexp{
			regexp.MustCompile(`\A([a-z0-9-]+\.)?gcr\.io\z`),
			regexp.MustCompile(`\A([a-z0-9-]+-docker|docker\.[a-z0-9-]+\.rep)\.pkg\.dev\z`),
		},
		annotation: "iam.gke.io/gcp-service-account=EMAIL", trust: "grant it roles/iam.workloadIdentityUser",
		role:   "roles/artifactregistry.writer",
		obtain: google,
	},
	{
		registries: "Azure Container Registry", name: "Azure", helpers: []string{"acr-env", "acr"},
		hosts:      []*regexp.Regexp{regexp.MustCompile(`\A[a-z0-9]+(-[a-z0-9]+)?\.azurecr\.(io|cn|us)\z`)},
		annotation: "azure.workload.identity/client-id=CLIENT_ID", trust: "correct its federated credential",
		role:   "the role AcrPush",
		obtain: azure,
	},
}

var (
	// privateECR matches the registries of accounts. The group is the region.
	privateECR = regexp.MustCompile(`\A[0-9]{12}\.dkr[.-]ecr(?:-fips)?\.([a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2})\.(?:amazonaws\.(?:com|com\.cn|eu)|on\.(?:aws|amazonwebservices\.com\.cn)|sc2s\.sgov\.gov|c2s\.ic\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)\z`)
	publicECR  = regexp.MustCompile(`\A(public\.ecr\.aws|ecr-public\.aws\.com)\z`)
)

// cloudOf returns the cloud of a registry, or nil.
func cloudOf(host string) *cloud {
	return find(func(c cloud) bool {
		return slices.ContainsFunc(c.hosts, func(pattern *regexp.Regexp) bool { return pattern.MatchString(host) })
	})
}

func find(matches func(cloud) bool) *cloud {
	if n := slices.IndexFunc(supported, matches); n >= 0 {
		return &supported[n]
	}
	return nil
}

// Registries returns the name of the registries that a host belongs to, such as
// "Amazon ECR", or "" for a host that is not a registry of a cloud.
func Registries(host string) string { return registriesOf(cloudOf(host)) }

// RegistriesOfHelper returns the name of the registries to which one of Docker's
// credential helpers logs in, or "" for a helper that is not a cloud's.
func RegistriesOfHelper(helper string) string {
	return registriesOf(find(func(c cloud) bool { return slices.Contains(c.helpers, helper) }))
}

func registriesOf(c *cloud) string {
	if c == nil {
		return ""
	}
	return c.registries
}
