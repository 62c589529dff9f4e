package identity

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRegistries(t *testing.T) {
	tests := map[string][]string{
		"Amazon ECR": {
			"123456789012.dkr.ecr.us-east-1.amazonaws.com",
			"123456789012.dkr.ecr.ap-southeast-5.amazonaws.com",
			"123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
			"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
			"123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu",
			"123456789012.dkr-ecr.eu-west-1.on.aws",
			"public.ecr.aws", "ecr-public.aws.com",
		},
		"Google Artifact Registry": {"gcr.io", "eu.gcr.io", "us-docker.pkg.dev", "europe-west4-docker.pkg.dev", "docker.us-central1.rep.pkg.dev"},
		"Azure Container Registry": {"models.azurecr.io", "models-a1b2c3.azurecr.io", "models.azurecr.cn", "models.azurecr.us"},
		"": {
			"", "docker.io", "index.docker.io", "registry.example.com:5000", "localhost",
			// Hosts of others that look like those above.
			"123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.example",
			"evil.example/123456789012.dkr.ecr.us-east-1.amazonaws.com",
			"123456789012.dkr.ecr.us-east-1.amazonaws.com:8443",
			"x123456789012.dkr.ecr.us-east-1.amazonaws.com",
			"evil.123456789012.dkr.ecr.us-east-1.amazonaws.com",
			"123456789012.dkr.ecr.us-east-1.amazonaws.comx",
			"123456789012.dkr.ecr.us-east-1.evil.com",
			"123456789012xdkr.ecr.us-east-1.amazonaws.com",
			"123456789012.dkr.ecr.us-east-1.amazonaws.com\n.evil.example",
			"123456789012.dkr.ecr.us-east-1.amazonaws.com.",
			// Buckets of anybody.
			"123456789012.dkr.ecr.s3.amazonaws.com",
			"123456789012.dkr.ecr.s3-us-west-2.amazonaws.com",
			"public.ecr.aws.evil.example", "evil-public.ecr.aws",
			"gcr.io.evil.example", "evilgcr.io", "a.b.gcr.io", "gcr.io:80",
			"us-docker.pkg.dev.evil.example", "evil-docker.pkg.dev.example", "docker.pkg.dev", "us-python.pkg.dev", "evil.example-docker.pkg.dev",
			"models.azurecr.io.evil.example", "evilazurecr.io", "azurecr.io", "models.privatelink.azurecr.io", "models.azurecr.de", "models.azurecr.io:443",
			"mcr.microsoft.com", "www.google.com",
		},
	}
	for want, hosts := range tests {
		for _, host := range hosts {
			assert.Equal(t, want, Registries(host), host)
		}
	}
}

func TestRegistriesOfHelper(t *testing.T) {
	for helper, want := range map[string]string{
		"ecr-login": "Amazon ECR", "gcloud": "Google Artifact Registry", "gcr": "Google Artifact Registry",
		"acr-env": "Azure Container Registry", "acr": "Azure Container Registry", "desktop": "", "": "",
	} {
		assert.Equal(t, want, RegistriesOfHelper(helper), helper)
	}
}
