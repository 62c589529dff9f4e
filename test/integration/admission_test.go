package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// fieldError is one validation error of the API server.
type fieldError struct {
	field   string
	message string
}

// quotedValue matches the value that the API server quotes before a message.
var quotedValue = regexp.MustCompile(`^Invalid value: ("(?:[^"\\]|\\.)*": )?`)

// fieldErrors returns the API server's validation errors, without the quoted
// values.
func fieldErrors(t *testing.T, err error) []fieldError {
	t.Helper()
	require.Error(t, err)
	var status apierrors.APIStatus
	require.ErrorAs(t, err, &status, "not a response of the API server")
	require.Equal(t, int32(422), status.Status().Code, "%v", err)
	var list []fieldError
	for _, cause := range status.Status().Details.Causes {
		message := tooLong.ReplaceAllString(quotedValue.ReplaceAllString(cause.Message, ""), "may not be more than $1 bytes")
		if strings.HasSuffix(unchecked, message) {
			message = unchecked
		}
		list = append(list, fieldError{cause.Field, message})
	}
	return list
}

// tooLong and unchecked have other words in Kubernetes 1.31.
var tooLong = regexp.MustCompile(`may not be longer than (\d+)$`)

// Messages that several cases share.
const (
	badPath      = "path must be absolute, without '..', '.', '//' or a trailing slash, for example /models/resnet/1"
	strangePath  = "path must not contain a line break, a control character, '{{' or '}}': rename the directory, for example to /models/resnet/1"
	badRepo      = "imageRepo must be an OCI repository without tag or scheme: use the form modelhub/resnet or registry.example.com:5000/team/resnet, lower case after the host"
	badTag       = "imageTag is an OCI tag: use letters, digits, '_', '.' and '-', at most 128, not beginning with '.' or '-', for example v1.0, or omit it for an automatic tag"
	badModelName = "modelName is the name of a Model: use lower-case letters, digits, '-' and '.', at most 63 characters, for example resnet-50"
	badSubPath   = "subPath must be a path in the claim, without a leading or trailing slash and without '..', for example resnet/1"
	oneKind      = "storage needs exactly one kind: set one of localStorage, nfs, AWSEfs, persistentVolumeClaim, s3, huggingFace or image"
	badBase      = "baseImage must be an image reference without scheme, lower case after the host, for example registry.example.com/library/busybox:1.37, or scratch"
	badModelPath = "modelPath must be an absolute path of letters, digits, '_', '.' and '-', without a trailing slash and without names that begin with '.' or '-', for example /models"
	systemPath   = "modelPath must not be in a directory of the system or of the build: choose another one, for example /models"
	inModelPath  = "modelPath must not be in /kubedl-model, which becomes a link to it: choose another directory, for example /models"
	badQuantity  = "requests must be quantities of zero or more, without spaces, for example cpu: 500m, memory: 2Gi"
	noPath       = "path is required: name the directory on the node, for example path: /models/resnet/1"
	noNodeName   = "nodeName is required: name the node whose disk holds the path, for example nodeName: node-1 (kubectl get nodes lists them), or set trainedBy to the workload that writes the files, so that its node is used"
	noModelName  = "modelName is required: name the Model that this is a version of, for example modelName: resnet"
	noImageRepo  = "imageRepo is required: name the repository that the image is pushed to, for example imageRepo: modelhub/resnet"
	noStorage    = "storage is required: specify where the model's files are stored, for example storage: {localStorage: {path: /models/resnet/1, nodeName: node-1}}"

	streamGzip = "the engine Stream does not support the compression Gzip: set compression to None or Zstd, or remove it"
	kanikoNone = "the engine Kaniko does not support the compression None: set compression to Zstd or Gzip, or remove it"

	noDigest    = "digest is required: name the digest of the image that the tag holds, which crane digest IMAGE prints"
	badDigest   = "digest must be sha256: and 64 hexadecimal digits in lower case, which crane digest IMAGE prints"
	imageNoTag  = "imageTag is required with storage.image: name the tag that holds the image, for example imageTag: v1.0"
	imageTrains = "trainedBy cannot be set with storage.image: create the ModelVersion when the image has been pushed, without trainedBy"
	imageBuilds = "storage.image is used as it is: remove baseImage, compression, changeDetection, include, exclude, symlinks and completenessCheck from build"

	// unchecked is what the API server adds when the schema rejects an object.
	unchecked = "null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"
)

func engineWith(engine, compression string) change {
	return set("spec.build", map[string]any{"engine": engine, "compression": compression})
}

func requests(of map[string]any) change {
	return build("resources", map[string]any{"requests": of})
}

func toleration(of map[string]any) change {
	return build("tolerations", []any{of})
}

// rejections are changes that make a manifest invalid, and the API server's
// errors.
type rejections map[string]struct {
	manifest string
	change   change
	want     []fieldError
}

func (cases rejections) run(t *testing.T) {
	t.Helper()
	namespace := shared.createNamespace(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := shared.admin.Create(t.Context(), newObject(t, namespace, tc.manifest, tc.change), client.DryRunAll)
			assert.Equal(t, tc.want, fieldErrors(t, err))
		})
	}
}

func TestAdmissionRequiredFields(t *testing.T) {
	rejections{
		"no spec":                    {localVersion, remove("spec"), []fieldError{{"<nil>", "spec is required: set modelName, imageRepo and storage"}}},
		"an empty spec":              {localVersion, set("spec", map[string]any{}), []fieldError{{"spec", noModelName}, {"spec", noImageRepo}, {"spec", noStorage}}},
		"no modelName":               {localVersion, remove("spec.modelName"), []fieldError{{"spec", noModelName}}},
		"a modelName that is null":   {localVersion, set("spec.modelName", nil), []fieldError{{"spec", noModelName}}},
		"no imageRepo":               {localVersion, remove("spec.imageRepo"), []fieldError{{"spec", noImageRepo}}},
		"no storage":                 {localVersion, remove("spec.storage"), []fieldError{{"spec", noStorage}}},
		"storage: {}":                {localVersion, set("spec.storage", map[string]any{}), []fieldError{{"spec.storage", oneKind}}},
		"two kinds of storage":       {localVersion, set("spec.storage.nfs", map[string]any{"server": "nas", "path": "/exports"}), []fieldError{{"spec.storage", oneKind}}},
		"an unknown kind of storage": {localVersion, set("spec.storage", map[string]any{"floppy": map[string]any{"path": "/a"}}), []fieldError{{"spec.storage", oneKind}}},
	}.run(t)
}

func TestAdmissionStorage(t *testing.T) {
	rejections{
		"s3 without bucket and prefix":         {nfsVersion, storedIn("s3", map[string]any{}), []fieldError{{"spec.storage.s3", "bucket is required: name the bucket that holds the files, for example bucket: models"}, {"spec.storage.s3", "prefix is required: name the prefix of the model's objects in the bucket, for example prefix: llama/3.1-8b"}}},
		"an s3 prefix with a slash":            {nfsVersion, storedIn("s3", map[string]any{"bucket": "models", "prefix": "llama/"}), []fieldError{{"spec.storage.s3.prefix", "prefix must not begin or end with '/' and must not contain '//' or '..', for example llama/3.1-8b"}}},
		"an s3 endpoint with an account":       {nfsVersion, storedIn("s3", map[string]any{"endpoint": "https://a:b@minio", "bucket": "models", "prefix": "llama"}), []fieldError{{"spec.storage.s3.endpoint", "endpoint must be the URL of a server without a path, for example https://minio.example.com:9000"}}},
		"an s3 bucket with a slash":            {nfsVersion, storedIn("s3", map[string]any{"bucket": "models/a", "prefix": "llama"}), []fieldError{{"spec.storage.s3.bucket", "bucket is the name of a bucket: use letters, digits, '-', '_' and '.', for example models"}}},
		"huggingFace without repo":             {nfsVersion, storedIn("huggingFace", map[string]any{}), []fieldError{{"spec.storage.huggingFace", "repo is required: name the repository with its organization, for example repo: mistralai/Mistral-7B-v0.3"}}},
		"a repo with a path":                   {nfsVersion, storedIn("huggingFace", map[string]any{"repo": "mistralai/a/../b"}), []fieldError{{"spec.storage.huggingFace.repo", "repo is the name of a repository, for example mistralai/Mistral-7B-v0.3"}}},
		"a revision with dots":                 {nfsVersion, storedIn("huggingFace", map[string]any{"repo": "a/b", "revision": "refs/../x"}), []fieldError{{"spec.storage.huggingFace.revision", "revision is a branch, a tag or a commit: use letters, digits, '-', '.', '_' and '/', for example main"}}},
		"a pattern with a line break":          {nfsVersion, build("exclude", []any{"a\nb"}), []fieldError{{"spec.build.exclude[0]", "a pattern must not contain a line break, a control character, '{{' or '}}': match the character with '?'"}}},
		"localStorage without path":            {localVersion, remove(localPath), []fieldError{{"spec.storage.localStorage", noPath}}},
		"localStorage without nodeName":        {localVersion, remove(localNode), []fieldError{{"spec", noNodeName}}},
		"localStorage: {}":                     {localVersion, set("spec.storage.localStorage", map[string]any{}), []fieldError{{"spec", noNodeName}, {"spec.storage.localStorage", noPath}}},
		"a claim without claimName":            {claimVersion, remove(claimName), []fieldError{{"spec.storage.persistentVolumeClaim", "claimName is required: name the claim that holds the files, for example claimName: models (kubectl get pvc lists them)"}}},
		"nfs without server":                   {nfsVersion, remove("spec.storage.nfs.server"), []fieldError{{"spec.storage.nfs", "server is required: name the NFS server, for example server: nas.example.com"}}},
		"nfs without path":                     {nfsVersion, remove("spec.storage.nfs.path"), []fieldError{{"spec.storage.nfs", "path is required: name the directory that the server exports, for example path: /exports/resnet"}}},
		"AWSEfs without volumeHandle":          {efsVersion, set("spec.storage.AWSEfs", map[string]any{}), []fieldError{{"spec.storage.AWSEfs", "volumeHandle is required: name the file system, for example volumeHandle: fs-12345678"}}},
		"a volumeHandle with a pair of braces": {efsVersion, set("spec.storage.AWSEfs.volumeHandle", "fs-1:/{{x}}"), []fieldError{{"spec.storage.AWSEfs.volumeHandle", "volumeHandle must have the form fs-12345678, fs-12345678:/path or fs-12345678::fsap-12345678"}}},
		"a volumeHandle with two dots":         {efsVersion, set("spec.storage.AWSEfs.volumeHandle", "fs-1:/models/../private"), []fieldError{{"spec.storage.AWSEfs.volumeHandle", "volumeHandle must not contain '..': name the directory itself, for example fs-12345678:/path"}}},
		"a volumeHandle with a mount option":   {efsVersion, set("spec.storage.AWSEfs.volumeHandle", "fs-1::fsap-2,tls"), []fieldError{{"spec.storage.AWSEfs.volumeHandle", "volumeHandle must have the form fs-12345678, fs-12345678:/path or fs-12345678::fsap-12345678"}}},
		"an nfs server with a space":           {nfsVersion, set("spec.storage.nfs.server", "my nas"), []fieldError{{"spec.storage.nfs.server", "server must be a host name or an IP address, for example nas.example.com or 10.0.0.7"}}},
		"an nfs path with dots":                {nfsVersion, set("spec.storage.nfs.path", "/exports/../etc"), []fieldError{{"spec.storage.nfs.path", "path must be the absolute path that the server exports, without '..', for example /exports/resnet"}}},
		"an nfs path with a line break":        {nfsVersion, set("spec.storage.nfs.path", "/exports\n"), []fieldError{{"spec.storage.nfs.path", "path must not contain a line break, a control character, '{{' or '}}': rename the exported directory, for example to /exports/resnet"}}},
		"a mountPath with dots":                {localVersion, set("spec.storage.localStorage.mountPath", "/a/../b"), []fieldError{{"spec.storage.localStorage.mountPath", "mountPath must be an absolute path without '..' or ':', for example /kubedl-model"}}},
		"a relative path":                      {localVersion, set(localPath, "models"), []fieldError{{localPath, badPath}}},
		"an empty path":                        {localVersion, set(localPath, ""), []fieldError{{localPath, badPath}}},
		"a path with two dots":                 {localVersion, set(localPath, "/models/../etc"), []fieldError{{localPath, badPath}}},
		"a path with one dot":                  {localVersion, set(localPath, "/models/./resnet"), []fieldError{{localPath, badPath}}},
		"a path with two slashes":              {localVersion, set(localPath, "/models//resnet"), []fieldError{{localPath, badPath}}},
		"a path that begins with two slashes":  {localVersion, set(localPath, "//models"), []fieldError{{localPath, badPath}}},
		"a path with a slash at its end":       {localVersion, set(localPath, "/models/"), []fieldError{{localPath, badPath}}},
		"a path with a line break":             {localVersion, set(localPath, "/models\nFROM x"), []fieldError{{localPath, strangePath}}},
		"a path that ends with a line break":   {localVersion, set(localPath, "/models\n"), []fieldError{{localPath, strangePath}}},
		"a path with a tab":                    {localVersion, set(localPath, "/models\t1"), []fieldError{{localPath, strangePath}}},
		"a path that opens a pair of braces":   {localVersion, set(localPath, "/models/{{workflow.uid}}"), []fieldError{{localPath, strangePath}}},
		"a path that closes a pair of braces":  {localVersion, set(localPath, "/models}}"), []fieldError{{localPath, strangePath}}},
		"a path of 1025 characters":            {localVersion, set(localPath, "/"+letters(1024)), []fieldError{{localPath, "Too long: may not be more than 1024 bytes"}, {"<nil>", unchecked}}},
		"a nodeName with a capital":            {localVersion, set(localNode, "Node-1"), []fieldError{{localNode, "nodeName is the name of a node (kubectl get nodes lists them): use lower-case letters, digits, '-' and '.'"}}},
		"a nodeName with braces":               {localVersion, set(localNode, "{{x}}"), []fieldError{{localNode, "nodeName is the name of a node (kubectl get nodes lists them): use lower-case letters, digits, '-' and '.'"}}},
		"a nodeName of 254 characters":         {localVersion, set(localNode, letters(254)), []fieldError{{localNode, "Too long: may not be more than 253 bytes"}, {"<nil>", unchecked}}},
		"a claimName with a slash":             {claimVersion, set(claimName, "team/models"), []fieldError{{claimName, "claimName is the name of a PersistentVolumeClaim (kubectl get pvc lists them): use lower-case letters, digits, '-' and '.'"}}},
		"a claimName of 254 characters":        {claimVersion, set(claimName, letters(254)), []fieldError{{claimName, "Too long: may not be more than 253 bytes"}, {"<nil>", unchecked}}},
		"a subPath that is absolute":           {claimVersion, set(subPath, "/resnet"), []fieldError{{subPath, badSubPath}}},
		"a subPath with two dots":              {claimVersion, set(subPath, "../other"), []fieldError{{subPath, badSubPath}}},
		"a subPath with a slash at its end":    {claimVersion, set(subPath, "resnet/"), []fieldError{{subPath, badSubPath}}},
		"a subPath with a pair of braces":      {claimVersion, set(subPath, "{{x}}"), []fieldError{{subPath, "subPath must not contain a line break, a control character, '{{' or '}}': rename the directory, for example to resnet/1"}}},
		"trainedBy without a name":             {claimVersion, set("spec.trainedBy", map[string]any{"apiVersion": "batch/v1", "kind": "Job"}), []fieldError{{"spec.trainedBy", "trainedBy needs apiVersion, kind and name, for example {apiVersion: batch/v1, kind: Job, name: train}"}}},
		"trainedBy with a kind in braces":      {claimVersion, set("spec.trainedBy", map[string]any{"apiVersion": "batch/v1", "kind": "{{x}}", "name": "a"}), []fieldError{{"spec.trainedBy.kind", "kind is the kind of the workload, for example Job or PyTorchJob"}}},
	}.run(t)
}

func TestAdmissionImage(t *testing.T) {
	rejections{
		"a tag with a space":                         {localVersion, set("spec.imageTag", "bad tag"), []fieldError{{"spec.imageTag", badTag}}},
		"an empty tag":                               {localVersion, set("spec.imageTag", ""), []fieldError{{"spec.imageTag", badTag}}},
		"a tag that begins with a dot":               {localVersion, set("spec.imageTag", ".v1"), []fieldError{{"spec.imageTag", badTag}}},
		"a tag with a colon":                         {localVersion, set("spec.imageTag", "v1:2"), []fieldError{{"spec.imageTag", badTag}}},
		"a tag with braces":                          {localVersion, set("spec.imageTag", "{{x}}"), []fieldError{{"spec.imageTag", badTag}}},
		"a tag that ends with a line break":          {localVersion, set("spec.imageTag", "v1\n"), []fieldError{{"spec.imageTag", badTag}}},
		"a tag of 129 characters":                    {localVersion, set("spec.imageTag", letters(129)), []fieldError{{"spec.imageTag", badTag}}},
		"a tag that YAML takes for a number":         {localVersion, set("spec.imageTag", 1.5), []fieldError{{"spec.imageTag", `spec.imageTag in body must be of type string: "number"`}, {"<nil>", unchecked}}},
		"an imageRepo with a space":                  {localVersion, set("spec.imageRepo", "modelhub/res net"), []fieldError{{"spec.imageRepo", badRepo}}},
		"an imageRepo with a line break":             {localVersion, set("spec.imageRepo", "modelhub/resnet\nFROM x"), []fieldError{{"spec.imageRepo", badRepo}}},
		"an imageRepo that ends in a line break":     {localVersion, set("spec.imageRepo", "modelhub/resnet\n"), []fieldError{{"spec.imageRepo", badRepo}}},
		"an imageRepo in quotes":                     {localVersion, set("spec.imageRepo", `"modelhub/resnet"`), []fieldError{{"spec.imageRepo", badRepo}}},
		"an imageRepo with braces":                   {localVersion, set("spec.imageRepo", "modelhub/{{x}}"), []fieldError{{"spec.imageRepo", badRepo}}},
		"an imageRepo with shell syntax":             {localVersion, set("spec.imageRepo", "modelhub/$(id)"), []fieldError{{"spec.imageRepo", badRepo}}},
		"an imageRepo with a Dockerfile instruction": {localVersion, set("spec.imageRepo", "FROM x"), []fieldError{{"spec.imageRepo", badRepo}}},
		"an imageRepo with a tag":                    {localVersion, set("spec.imageRepo", "modelhub/resnet:v1"), []fieldError{{"spec.imageRepo", badRepo}}},
		"an imageRepo with a digest":                 {localVersion, set("spec.imageRepo", "modelhub/resnet@sha256:abc"), []fieldError{{"spec.imageRepo", badRepo}}},
		"an imageRepo with a scheme":                 {localVersion, set("spec.imageRepo", "https://registry.example.com/resnet"), []fieldError{{"spec.imageRepo", badRepo}}},
		"an imageRepo with capitals":                 {localVersion, set("spec.imageRepo", "modelhub/ResNet"), []fieldError{{"spec.imageRepo", badRepo}}},
		"an imageRepo that begins in capitals":       {localVersion, set("spec.imageRepo", "ModelHub/resnet"), []fieldError{{"spec.imageRepo", badRepo}}},
		"an imageRepo with a slash at its end":       {localVersion, set("spec.imageRepo", "modelhub/"), []fieldError{{"spec.imageRepo", badRepo}}},
		"an empty imageRepo":                         {localVersion, set("spec.imageRepo", ""), []fieldError{{"spec.imageRepo", badRepo}}},
		"an imageRepo of 256 characters":             {localVersion, set("spec.imageRepo", letters(256)), []fieldError{{"spec.imageRepo", "Too long: may not be more than 255 bytes"}, {"<nil>", unchecked}}},
	}.run(t)
}

func TestAdmissionBuild(t *testing.T) {
	rejections{
		"an unknown engine":                           {localVersion, build("engine", "Buildah"), []fieldError{{"spec.build.engine", `Unsupported value: "Buildah": supported values: "Kaniko", "Stream"`}, {"<nil>", unchecked}}},
		"a relative modelPath":                        {localVersion, build("modelPath", "models"), []fieldError{{"spec.build.modelPath", badModelPath}}},
		"a modelPath that is the root":                {localVersion, build("modelPath", "/"), []fieldError{{"spec.build.modelPath", badModelPath}}},
		"a modelPath with a trailing slash":           {localVersion, build("modelPath", "/models/"), []fieldError{{"spec.build.modelPath", badModelPath}}},
		"a modelPath with two slashes":                {localVersion, build("modelPath", "/models//a"), []fieldError{{"spec.build.modelPath", badModelPath}}},
		"a modelPath that leads out":                  {localVersion, build("modelPath", "/models/../etc"), []fieldError{{"spec.build.modelPath", badModelPath}}},
		"a modelPath with a second line":              {localVersion, build("modelPath", "/models\nRUN id"), []fieldError{{"spec.build.modelPath", badModelPath}}},
		"a modelPath that ends with a line break":     {localVersion, build("modelPath", "/models\n"), []fieldError{{"spec.build.modelPath", badModelPath}}},
		"a modelPath for a shell":                     {localVersion, build("modelPath", "/models;id"), []fieldError{{"spec.build.modelPath", badModelPath}}},
		"a modelPath for Argo":                        {localVersion, build("modelPath", "/{{workflow.uid}}"), []fieldError{{"spec.build.modelPath", badModelPath}}},
		"a modelPath that looks like an option":       {localVersion, build("modelPath", "/-rf"), []fieldError{{"spec.build.modelPath", badModelPath}}},
		"a modelPath that deletes files in an image":  {localVersion, build("modelPath", "/a/.wh.b"), []fieldError{{"spec.build.modelPath", badModelPath}}},
		"a modelPath of the system":                   {localVersion, build("modelPath", "/etc/models"), []fieldError{{"spec.build.modelPath", systemPath}}},
		"a modelPath of the build":                    {localVersion, build("modelPath", "/kiln"), []fieldError{{"spec.build.modelPath", systemPath}}},
		"a modelPath in the link":                     {localVersion, build("modelPath", "/kubedl-model/1"), []fieldError{{"spec.build.modelPath", inModelPath}}},
		"a modelPath of 129 characters":               {localVersion, build("modelPath", "/"+letters(128)), []fieldError{{"spec.build.modelPath", "Too long: may not be more than 128 bytes"}, {"<nil>", unchecked}}},
		"a baseImage with a space":                    {localVersion, build("baseImage", "busybox latest"), []fieldError{{"spec.build.baseImage", badBase}}},
		"a baseImage with a second line":              {localVersion, build("baseImage", "busybox\nRUN id"), []fieldError{{"spec.build.baseImage", badBase}}},
		"a baseImage with a scheme":                   {localVersion, build("baseImage", "https://registry.example.com/library/busybox"), []fieldError{{"spec.build.baseImage", badBase}}},
		"a baseImage with a capital":                  {localVersion, build("baseImage", "BusyBox:1.37"), []fieldError{{"spec.build.baseImage", badBase}}},
		"a baseImage with two dots":                   {localVersion, build("baseImage", "registry.example.com/base/../other/python:3"), []fieldError{{"spec.build.baseImage", badBase}}},
		"a baseImage with two slashes":                {localVersion, build("baseImage", "registry.example.com/base//python:3"), []fieldError{{"spec.build.baseImage", badBase}}},
		"a baseImage with a capital after the host":   {localVersion, build("baseImage", "registry.example.com/Base:3"), []fieldError{{"spec.build.baseImage", badBase}}},
		"a baseImage with two tags":                   {localVersion, build("baseImage", "busybox:1.37:musl"), []fieldError{{"spec.build.baseImage", badBase}}},
		"a baseImage with an incomplete digest":       {localVersion, build("baseImage", "busybox@sha256:0"), []fieldError{{"spec.build.baseImage", badBase}}},
		"Stream with Gzip":                            {localVersion, engineWith("Stream", "Gzip"), []fieldError{{"spec.build", streamGzip}}},
		"Kaniko with None":                            {localVersion, engineWith("Kaniko", "None"), []fieldError{{"spec.build", kanikoNone}}},
		"a pushSecretName with a capital":             {localVersion, build("pushSecretName", "RegCred"), []fieldError{{"spec.build.pushSecretName", "pushSecretName is the name of a Secret (kubectl get secrets lists them): use lower-case letters, digits, '-' and '.'"}}},
		"a workflowTemplate with a slash":             {localVersion, build("workflowTemplate", "team/build"), []fieldError{{"spec.build.workflowTemplate", "workflowTemplate is the name of a ClusterWorkflowTemplate: use lower-case letters, digits, '-' and '.'"}}},
		"a deadline of zero":                          {localVersion, build("deadlineSeconds", int64(0)), []fieldError{{"spec.build.deadlineSeconds", "0: spec.build.deadlineSeconds in body should be greater than or equal to 1"}}},
		"a nodeSelector with a space":                 {localVersion, build("nodeSelector", map[string]any{"disk type": "ssd"}), []fieldError{{"spec.build.nodeSelector", "nodeSelector must contain node labels, for example disktype: ssd"}}},
		"a nodeSelector's value with a comma":         {localVersion, build("nodeSelector", map[string]any{"disktype": "ssd,zone=a"}), []fieldError{{"spec.build.nodeSelector", "nodeSelector must contain node labels, for example disktype: ssd"}}},
		"a toleration's key with a space":             {localVersion, toleration(map[string]any{"key": "nvidia gpu"}), []fieldError{{"spec.build.tolerations[0].key", "key is the key of a taint, for example nvidia.com/gpu"}}},
		"a toleration's value with a comma":           {localVersion, toleration(map[string]any{"key": "a", "value": "b,c"}), []fieldError{{"spec.build.tolerations[0].value", "value is the value of a taint: use letters, digits, '-', '_' and '.'"}}},
		"a toleration of every taint, without Exists": {localVersion, toleration(map[string]any{"effect": "NoSchedule"}), []fieldError{{"spec.build.tolerations[0]", "a toleration without a key tolerates every taint: set operator: Exists, or set key to the key of the taint"}}},
		"a toleration with Exists and a value":        {localVersion, toleration(map[string]any{"key": "a", "operator": "Exists", "value": "b"}), []fieldError{{"spec.build.tolerations[0]", "a toleration with operator: Exists must not have a value: remove the value, or set operator: Equal"}}},
		"a toleration with an unknown operator":       {localVersion, toleration(map[string]any{"key": "a", "operator": "Like"}), []fieldError{{"spec.build.tolerations[0].operator", `Unsupported value: "Like": supported values: "Equal", "Exists"`}, {"<nil>", unchecked}}},
		"a toleration with an unknown effect":         {localVersion, toleration(map[string]any{"key": "a", "effect": "Never"}), []fieldError{{"spec.build.tolerations[0].effect", `Unsupported value: "Never": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"`}, {"<nil>", unchecked}}},
		"a request for another resource":              {localVersion, requests(map[string]any{"nvidia.com/gpu": "1"}), []fieldError{{"spec.build.resources.requests", "requests supports only cpu, memory and ephemeral-storage: remove other resources"}}},
		"a request below zero":                        {localVersion, requests(map[string]any{"memory": "-1Gi"}), []fieldError{{"spec.build.resources.requests", badQuantity}}},
		"a request above its limit":                   {localVersion, build("resources", map[string]any{"requests": map[string]any{"memory": "2Gi"}, "limits": map[string]any{"memory": "1024Mi"}}), []fieldError{{"spec.build.resources", "requests must not exceed limits: lower the request or raise the limit"}}},
	}.run(t)

	// The schema's own error comes first and quotes the pattern. The message
	// that helps the user follows it.
	t.Run("a request that is not a quantity", func(t *testing.T) {
		o := newObject(t, shared.createNamespace(t), localVersion, requests(map[string]any{"memory": "10 GB"}))
		got := fieldErrors(t, shared.admin.Create(t.Context(), o, client.DryRunAll))
		require.Len(t, got, 2)
		assert.Equal(t, "spec.build.resources.requests.memory", got[0].field)
		assert.Equal(t, fieldError{"spec.build.resources.requests", badQuantity}, got[1])
	})
}

// storedImage sets the storage of a ModelVersion to an image, and other fields.
func storedImage(digest string, pairs ...any) change {
	return set(append([]any{"spec.storage", map[string]any{"image": map[string]any{"digest": digest}}, "spec.imageTag", "v1.0"}, pairs...)...)
}

func TestAdmissionExistingImage(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0", 64)
	rejections{
		"no digest":                        {nfsVersion, set("spec.storage", map[string]any{"image": map[string]any{}}, "spec.imageTag", "v1.0"), []fieldError{{"spec.storage.image", noDigest}}},
		"a digest of 63 digits":            {nfsVersion, storedImage(digest[:70]), []fieldError{{"spec.storage.image.digest", badDigest}}},
		"a digest in capitals":             {nfsVersion, storedImage("sha256:" + strings.Repeat("A", 64)), []fieldError{{"spec.storage.image.digest", badDigest}}},
		"a digest that a template expands": {nfsVersion, storedImage("{{workflow.uid}}"), []fieldError{{"spec.storage.image.digest", badDigest}}},
		"another kind of digest":           {nfsVersion, storedImage("sha512:" + strings.Repeat("0", 64)), []fieldError{{"spec.storage.image.digest", badDigest}}},
		"no imageTag":                      {nfsVersion, storedIn("image", map[string]any{"digest": digest}), []fieldError{{"spec", imageNoTag}}},
		"with another kind of storage":     {nfsVersion, set("spec.storage.image", map[string]any{"digest": digest}, "spec.imageTag", "v1.0"), []fieldError{{"spec.storage", oneKind}}},
		"with trainedBy":                   {nfsVersion, storedImage(digest, "spec.trainedBy", map[string]any{"apiVersion": "batch/v1", "kind": "Job", "name": "train"}), []fieldError{{"spec", imageTrains}}},
		"with baseImage":                   {nfsVersion, storedImage(digest, "spec.build", map[string]any{"baseImage": "scratch"}), []fieldError{{"spec", imageBuilds}}},
		"with compression":                 {nfsVersion, storedImage(digest, "spec.build", map[string]any{"compression": "Zstd"}), []fieldError{{"spec", imageBuilds}}},
		"with changeDetection":             {nfsVersion, storedImage(digest, "spec.build", map[string]any{"changeDetection": "ModTime"}), []fieldError{{"spec", imageBuilds}}},
		"with include":                     {nfsVersion, storedImage(digest, "spec.build", map[string]any{"include": []any{"*.json"}}), []fieldError{{"spec", imageBuilds}}},
		"with exclude":                     {nfsVersion, storedImage(digest, "spec.build", map[string]any{"exclude": []any{"*.json"}}), []fieldError{{"spec", imageBuilds}}},
		"with symlinks":                    {nfsVersion, storedImage(digest, "spec.build", map[string]any{"symlinks": "Keep"}), []fieldError{{"spec", imageBuilds}}},
		"with completenessCheck":           {nfsVersion, storedImage(digest, "spec.build", map[string]any{"completenessCheck": "Skip"}), []fieldError{{"spec", imageBuilds}}},
	}.run(t)
}

func TestAdmissionNames(t *testing.T) {
	rejections{
		"a modelName of 64 characters":         {localVersion, set("spec.modelName", letters(64)), []fieldError{{"spec.modelName", badModelName}}},
		"a modelName of 253 characters":        {localVersion, set("spec.modelName", letters(253)), []fieldError{{"spec.modelName", badModelName}}},
		"a modelName with a capital":           {localVersion, set("spec.modelName", "ResNet"), []fieldError{{"spec.modelName", badModelName}}},
		"a modelName with two dots":            {localVersion, set("spec.modelName", "res..net"), []fieldError{{"spec.modelName", badModelName}}},
		"an empty modelName":                   {localVersion, set("spec.modelName", ""), []fieldError{{"spec.modelName", badModelName}}},
		"a Model's name of 64 characters":      {model, set("metadata.name", letters(64)), []fieldError{{"<nil>", "the name of a Model is a label value on its ModelVersions: use at most 63 characters"}}},
		"a ModelVersion's name of 254 letters": {localVersion, set("metadata.name", letters(254)), []fieldError{{"metadata.name", "must be no more than 253 characters"}}},
	}.run(t)
}

// storedIn sets the storage of a ModelVersion.
func storedIn(kind string, storage map[string]any) change {
	return set("spec.storage", map[string]any{kind: storage})
}

func TestAdmissionAccepts(t *testing.T) {
	cases := map[string]struct {
		manifest string
		change   change
	}{
		"a local version":                      {localVersion, change{}},
		"a claim":                              {claimVersion, change{}},
		"a claim without subPath":              {claimVersion, remove(subPath)},
		"nfs":                                  {nfsVersion, change{}},
		"AWSEfs":                               {efsVersion, set("spec.storage.AWSEfs.attributes", map[string]any{"tls": "true"})},
		"a bucket of Amazon S3":                {nfsVersion, storedIn("s3", map[string]any{"bucket": "models", "prefix": "llama/3.1-8b"})},
		"a bucket with everything":             {nfsVersion, storedIn("s3", map[string]any{"endpoint": "http://minio.minio.svc:9000", "region": "eu-west-1", "bucket": "my.models", "prefix": "a b/$(c)", "credentialsSecretName": "s3-reader"})},
		"a repository of a hub":                {nfsVersion, storedIn("huggingFace", map[string]any{"repo": "mistralai/Mistral-7B-v0.3"})},
		"a repository without an organization": {nfsVersion, storedIn("huggingFace", map[string]any{"repo": "gpt2", "revision": "refs/pr/7", "endpoint": "https://hub.example.com", "tokenSecretName": "hf-token"})},
		"an image that exists":                 {nfsVersion, storedImage("sha256:" + strings.Repeat("0", 64))},
		"an image that exists, with build settings":         {nfsVersion, storedImage("sha256:"+strings.Repeat("f", 64), "spec.build", map[string]any{"engine": "Stream", "modelPath": "/models", "pushSecretName": "regcred", "deadlineSeconds": int64(600)})},
		"patterns of files":                                 {nfsVersion, build("exclude", []any{"!*.safetensors", "/checkpoint-*/", "{a}"})},
		"links that are followed":                           {nfsVersion, build("symlinks", "Follow")},
		"a skipped completeness check":                      {nfsVersion, build("completenessCheck", "Skip")},
		"a Model":                                           {model, change{}},
		"a Model's name of 63 characters":                   {model, set("metadata.name", letters(63))},
		"a modelName of 63 characters":                      {localVersion, set("spec.modelName", letters(63))},
		"a ModelVersion's name of 63 characters":            {localVersion, set("metadata.name", letters(63))},
		"a ModelVersion's name of 253 characters":           {localVersion, set("metadata.name", letters(253))},
		"a nodeName of 253 characters":                      {localVersion, set(localNode, letters(253))},
		"a claimName of 253 characters":                     {claimVersion, set(claimName, letters(253))},
		"a tag with dots":                                   {localVersion, set("spec.imageTag", "v1.0")},
		"a tag of 128 characters":                           {localVersion, set("spec.imageTag", letters(128))},
		"an imageRepo without a slash":                      {localVersion, set("spec.imageRepo", "resnet")},
		"an imageRepo of many parts":                        {localVersion, set("spec.imageRepo", "team/a.b/c_d/e__f/g-h--i")},
		"an imageRepo on a registry":                        {localVersion, set("spec.imageRepo", "registry.example.com/team/resnet")},
		"an imageRepo on a registry's port":                 {localVersion, set("spec.imageRepo", "registry.example.com:5000/team/resnet")},
		"an imageRepo on a registry with a port and no dot": {localVersion, set("spec.imageRepo", "Harbor:5000/team/resnet")},
		"an imageRepo on localhost":                         {localVersion, set("spec.imageRepo", "localhost/resnet")},
		"an imageRepo on an address":                        {localVersion, set("spec.imageRepo", "172.16.2.132:30002/library/resnet")},
		"an imageRepo of 255 characters":                    {localVersion, set("spec.imageRepo", letters(255))},
		"a path with capitals":                              {localVersion, set(localPath, "/Models/ResNet-50")},
		"a path with spaces and quotes":                     {localVersion, set(localPath, `/models/Ann's "best" one`)},
		"a path with shell syntax":                          {localVersion, set(localPath, "/models/$(id) `id` ; id")},
		"a path with a Dockerfile instruction":              {localVersion, set(localPath, "/models/FROM x")},
		"a path with single braces":                         {localVersion, set(localPath, "/models/{a}")},
		"a path in another script":                          {localVersion, set(localPath, "/模型/ресурс")},
		"a path of 1024 characters":                         {localVersion, set(localPath, "/"+letters(1023))},
		"a path of names that begin or end with dots":       {localVersion, set(localPath, "/..models/resnet..")},
		"a path that the operator denies later":             {localVersion, set(localPath, "/etc")},
		"Stream with None":                                  {localVersion, engineWith("Stream", "None")},
		"Kaniko with Gzip":                                  {localVersion, engineWith("Kaniko", "Gzip")},
		"the configured engine with Gzip":                   {localVersion, build("compression", "Gzip")},
		"the modelPath of KServe":                           {localVersion, build("modelPath", "/models")},
		"the modelPath of KubeDL":                           {localVersion, build("modelPath", "/kubedl-model")},
		"a modelPath of 128 characters":                     {localVersion, build("modelPath", "/opt/"+letters(123))},
		"a modelPath that only looks like the system's":     {localVersion, build("modelPath", "/etc-models/usr/v1.0")},
		"the base image scratch":                            {localVersion, build("baseImage", "scratch")},
		"a base image by digest, in another case":           {localVersion, build("baseImage", "Harbor:5000/a/b__c@sha256:"+strings.Repeat("0", 64))},
		"a base image on localhost":                         {localVersion, build("baseImage", "localhost/busybox")},
		"a base image of 512 characters":                    {localVersion, build("baseImage", letters(507)+":1.37")},
		"a creator of free text":                            {localVersion, set("spec.createdBy", "Ann {{x}} $(id)\n\"Müller\"")},
		"every build setting": {localVersion, set("spec.build", map[string]any{
			"engine": "Kaniko", "baseImage": "registry.example.com:5000/library/busybox:1.37@sha256:" + strings.Repeat("0", 64),
			"pushSecretName": "regcred", "deadlineSeconds": int64(604800), "workflowTemplate": "team.build",
			"nodeSelector": map[string]any{"kubernetes.io/arch": "amd64", "gpu": ""},
			"tolerations": []any{
				map[string]any{"operator": "Exists"},
				map[string]any{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
				map[string]any{"key": "dedicated", "value": "models"},
			},
			"resources": map[string]any{
				"requests": map[string]any{"cpu": int64(2), "memory": "1.5Gi", "ephemeral-storage": "20Gi"},
				"limits":   map[string]any{"cpu": "2000m", "memory": "1536Mi"},
			},
		})},
	}
	namespace := shared.createNamespace(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, shared.admin.Create(t.Context(), newObject(t, namespace, tc.manifest, tc.change), client.DryRunAll))
		})
	}
}

func TestAdmissionImmutableFields(t *testing.T) {
	const (
		modelNameFixed = "modelName cannot be changed: create a new ModelVersion for another model"
		imageRepoFixed = "imageRepo cannot be changed: create a new ModelVersion to push to another repository"
		imageTagFixed  = "imageTag cannot be added, changed or removed: create a new ModelVersion with the new tag"
		modelPathFixed = "build.modelPath cannot be added, changed or removed: create a new ModelVersion whose image has the model in another directory"
		storageFixed   = "storage cannot be changed: create a new ModelVersion for files that are stored elsewhere"
	)
	tagged := set("spec.imageTag", "v1.0")
	mounted := set("spec.storage.localStorage.mountPath", "/kubedl-model")
	otherKind := set("spec.storage", map[string]any{"persistentVolumeClaim": map[string]any{"claimName": "models"}})
	cases := map[string]struct {
		manifest string
		first    change
		edit     change
		want     []fieldError // None if the edit is accepted.
	}{
		"modelName changed":             {localVersion, change{}, set("spec.modelName", "other"), []fieldError{{"spec", modelNameFixed}}},
		"modelName removed":             {localVersion, change{}, remove("spec.modelName"), []fieldError{{"spec", noModelName}, {"spec", modelNameFixed}}},
		"imageRepo changed":             {localVersion, change{}, set("spec.imageRepo", "modelhub/other"), []fieldError{{"spec", imageRepoFixed}}},
		"imageRepo removed":             {localVersion, change{}, remove("spec.imageRepo"), []fieldError{{"spec", noImageRepo}, {"spec", imageRepoFixed}}},
		"imageTag changed":              {localVersion, tagged, set("spec.imageTag", "v1.1"), []fieldError{{"spec", imageTagFixed}}},
		"imageTag added":                {localVersion, change{}, set("spec.imageTag", "v1.0"), []fieldError{{"spec", imageTagFixed}}},
		"imageTag removed":              {localVersion, tagged, remove("spec.imageTag"), []fieldError{{"spec", imageTagFixed}}},
		"digest changed":                {nfsVersion, storedImage("sha256:" + strings.Repeat("0", 64)), set("spec.storage.image.digest", "sha256:"+strings.Repeat("1", 64)), []fieldError{{"spec", storageFixed}}},
		"storage of another kind":       {localVersion, change{}, otherKind, []fieldError{{"spec", storageFixed}}},
		"storage's path changed":        {localVersion, change{}, set(localPath, "/models/other"), []fieldError{{"spec", storageFixed}}},
		"storage's node changed":        {localVersion, change{}, set(localNode, "node-2"), []fieldError{{"spec", storageFixed}}},
		"storage's mountPath added":     {localVersion, change{}, mounted, []fieldError{{"spec", storageFixed}}},
		"storage's mountPath removed":   {localVersion, mounted, remove("spec.storage.localStorage.mountPath"), []fieldError{{"spec", storageFixed}}},
		"storage's claim changed":       {claimVersion, change{}, set(claimName, "other"), []fieldError{{"spec", storageFixed}}},
		"storage's subPath removed":     {claimVersion, change{}, remove(subPath), []fieldError{{"spec", storageFixed}}},
		"storage's server changed":      {nfsVersion, change{}, set("spec.storage.nfs.server", "other.example.com"), []fieldError{{"spec", storageFixed}}},
		"storage's attributes added":    {efsVersion, change{}, set("spec.storage.AWSEfs.attributes", map[string]any{"tls": "true"}), []fieldError{{"spec", storageFixed}}},
		"storage removed":               {localVersion, change{}, remove("spec.storage"), []fieldError{{"spec", noStorage}, {"spec", storageFixed}}},
		"nothing changed":               {localVersion, tagged, tagged, nil},
		"build added":                   {localVersion, change{}, build("baseImage", "scratch"), nil},
		"build changed":                 {localVersion, build("baseImage", "scratch"), build("baseImage", "busybox:1.37.0"), nil},
		"build removed":                 {localVersion, build("baseImage", "scratch"), remove("spec.build"), nil},
		"modelPath added":               {localVersion, change{}, build("modelPath", "/models"), []fieldError{{"spec", modelPathFixed}}},
		"modelPath changed":             {localVersion, build("modelPath", "/models"), build("modelPath", "/models/a"), []fieldError{{"spec", modelPathFixed}}},
		"modelPath removed":             {localVersion, build("modelPath", "/models"), remove("spec.build"), []fieldError{{"spec", modelPathFixed}}},
		"modelPath written out":         {localVersion, change{}, build("modelPath", "/kubedl-model"), nil},
		"createdBy changed":             {localVersion, change{}, set("spec.createdBy", "ann"), nil},
		"labels and annotations edited": {localVersion, change{}, set("metadata.labels", map[string]any{"a": "b"}, "metadata.annotations", map[string]any{"a": "b"}), nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			namespace := shared.createNamespace(t)
			mv := newObject(t, namespace, tc.manifest, tc.first)
			require.NoError(t, shared.admin.Create(t.Context(), mv))
			tc.edit.apply(t, mv)

			err := shared.admin.Update(t.Context(), mv)
			if tc.want == nil {
				require.NoError(t, err)
				return
			}
			assert.Equal(t, tc.want, fieldErrors(t, err))
		})
	}
}

// A rule that is added later does not affect the objects that exist, except what it is
// about.
func TestAdmissionRatcheting(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(modelkilnCRDs, "model.*.yaml"))
	require.NoError(t, err)
	earlier := t.TempDir()
	for _, file := range files {
		objects, err := readManifests(file)
		require.NoError(t, err)
		removeRules(objects[0].Object, streamGzip, badBase)
		raw, err := yaml.Marshal(objects[0].Object)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(earlier, filepath.Base(file)), raw, 0o600))
	}
	server := newAPIServer(t, earlier)
	s := newSandbox(t, server)
	invalid := set("spec.build", map[string]any{"engine": "Stream", "compression": "Gzip", "baseImage": "https://registry.example.com/busybox"})
	s.create(localVersion, invalid)
	require.NoError(t, server.installCRDs(modelkilnCRDs))
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		err := s.client.Create(t.Context(), newObject(t, s.namespace, localVersion, set("metadata.name", "other"), invalid), client.DryRunAll)
		assert.ErrorContains(c, err, streamGzip)
		assert.ErrorContains(c, err, badBase)
	}, deadline, tick)

	s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
	mv := s.edit(resnet, func(mv *v1alpha1.ModelVersion) { mv.Spec.CreatedBy = "ann" })
	before := mv.DeepCopy()
	mv.Status.Message = "failed"
	require.NoError(t, s.client.Status().Patch(t.Context(), mv, client.MergeFrom(before)))

	before = mv.DeepCopy()
	mv.Spec.Build.PushSecretName = "regcred"
	require.ErrorContains(t, s.client.Patch(t.Context(), mv, client.MergeFrom(before)), streamGzip)
	mv = s.edit(resnet, func(mv *v1alpha1.ModelVersion) { mv.Spec.Build.Compression = v1alpha1.Zstd })
	before = mv.DeepCopy()
	mv.Spec.Build.BaseImage = "https://registry.example.com/library/busybox"
	assert.ErrorContains(t, s.client.Patch(t.Context(), mv, client.MergeFrom(before)), badBase)
}

// removeRules removes the validation rules with these messages from a CRD.
func removeRules(node any, messages ...string) {
	switch n := node.(type) {
	case map[string]any:
		if rules, found := n["x-kubernetes-validations"].([]any); found {
			n["x-kubernetes-validations"] = slices.DeleteFunc(rules, func(rule any) bool {
				return slices.Contains(messages, rule.(map[string]any)["message"].(string))
			})
		}
		for _, child := range n {
			removeRules(child, messages...)
		}
	case []any:
		for _, child := range n {
			removeRules(child, messages...)
		}
	}
}

// Versions can be listed by Model without its label, which users can remove.
func TestFieldSelectors(t *testing.T) {
	s := newSandbox(t, shared)
	s.create(localVersion)
	s.create(localVersion, set("metadata.name", "bert-1", "spec.modelName", "bert"))

	for _, name := range []string{"resnet", "bert"} {
		var list v1alpha1.ModelVersionList
		require.NoError(t, s.client.List(t.Context(), &list, client.InNamespace(s.namespace), client.MatchingFields{"spec.modelName": name}))
		require.Len(t, list.Items, 1)
		assert.Equal(t, name, list.Items[0].Spec.ModelName)
	}
}
