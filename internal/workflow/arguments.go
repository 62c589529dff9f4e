package workflow

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lineage"
	"github.com/modelkiln/modelkiln/internal/text"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// maxRebuildRequest is the number of characters of the rebuild annotation that
// a status keeps.
const maxRebuildRequest = 1024

// RebuildRequest returns the value of the rebuild annotation, printable and cut to
// what a status keeps.
func RebuildRequest(annotations map[string]string) string {
	request := []rune(text.Printable(annotations[v1alpha1.AnnotationRebuild]))
	return string(request[:min(len(request), maxRebuildRequest)])
}

// Annotations returns the annotations of a Workflow that are read.
func Annotations() []string {
	return []string{annotationRestarts, v1alpha1.AnnotationGeneration, v1alpha1.AnnotationRebuild}
}

// AttemptNumber returns the number of a Workflow's attempt, or 0 when its label
// holds none.
func AttemptNumber(wf *wfv1.Workflow) int64 { return count(wf.Labels[v1alpha1.LabelAttempt]) }

// Restarts returns how many unfinished Workflows before this one were deleted.
func Restarts(wf *wfv1.Workflow) int64 { return count(wf.Annotations[annotationRestarts]) }

// Generation returns the generation of the ModelVersion that a Workflow was
// created from.
func Generation(wf *wfv1.Workflow) int64 {
	return count(wf.Annotations[v1alpha1.AnnotationGeneration])
}

// count returns the number that a text holds. Anything else, and a number that no
// count reaches, is 0: users can edit the labels and annotations of a Workflow, and
// the next attempt has the next number.
func count(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// Argument returns a Workflow's argument of this name, or an empty string.
func Argument(wf *wfv1.Workflow, name string) string {
	for _, parameter := range wf.Spec.Arguments.Parameters {
		if parameter.Name == name && parameter.Value != nil {
			return parameter.Value.String()
		}
	}
	return ""
}

// arguments returns the arguments of a build by parameter name. Empty ones are
// omitted, because the template has a default for each.
func arguments(mv *v1alpha1.ModelVersion, attempt Attempt, opts Options) (map[string]string, *Problem) {
	if problem := ofVersion(sourceOf(mv, opts).problem); problem != nil {
		return nil, problem
	}
	image, problem := imageOf(mv, attempt.Collision, opts)
	if problem != nil {
		return nil, problem
	}
	if problem := cmp.Or(checkBaseImage(mv, opts), checkScheduling(mv, opts), checkCompression(mv, opts), checkModelPath(mv), checkCompleteness(mv, opts)); problem != nil {
		return nil, problem
	}
	args := IdentityArguments(mv, opts)
	args[contract.ParamCreated] = Created(mv)
	args[contract.ParamImage] = image
	args[contract.ParamPlainHTTPRegistries] = strings.Join(opts.PlainHTTPRegistries, ",")
	args[contract.ParamPreviousImage] = PreviousImage(mv, attempt.Previous, opts)
	if attempt.UserAssigned && engine(mv, opts) == v1alpha1.Stream {
		args[contract.ParamAssignedUser] = "true"
	}
	if from := mv.Status.Source; from != nil && mv.Spec.Storage.HuggingFace != nil {
		args[contract.ParamKnownRevision] = from.Revision
	}
	if status := mv.Status.Lineage; status != nil {
		own, _ := lineage.Own(status.Facts)
		args[contract.ParamLineage] = lineage.Encode(own)
	}
	if image == PushedImage(mv) { // The digest is that of an image in this repository.
		args[contract.ParamKnownDigest] = attempt.KnownDigest
	}
	maps.Copy(args, opts.Pods.arguments())
	maps.Copy(args, buildArguments(ptr.Deref(mv.Spec.Build, v1alpha1.Build{}), opts))
	maps.Copy(args, BuildSettings(mv, opts))
	maps.DeleteFunc(args, func(_, value string) bool { return value == "" })

	for _, name := range slices.Sorted(maps.Keys(args)) {
		if strings.Contains(args[name], "{{") || strings.Contains(args[name], "}}") {
			return nil, &Problem{v1alpha1.ReasonInvalidSpec, fmt.Sprintf(`%s must not contain "{{" or "}}": Argo would treat it as a template expression. %s`, name, FixSpec(mv))}
		}
	}
	return args, nil
}

// Created returns when a ModelVersion was created, as the argument of its Workflows.
func Created(mv *v1alpha1.ModelVersion) string {
	if mv.CreationTimestamp.IsZero() {
		return ""
	}
	return mv.CreationTimestamp.UTC().Format(time.RFC3339)
}

// ModelPath returns the directory of a ModelVersion's image that holds the model's
// files.
func ModelPath(mv *v1alpha1.ModelVersion) string {
	return cmp.Or(ptr.Deref(mv.Spec.Build, v1alpha1.Build{}).ModelPath, v1alpha1.ModelPath)
}

// IdentityArguments returns the arguments, empty ones included, that identify which
// ModelVersion a Workflow builds and from which files. The node of a training's
// chief is among them once it is known.
func IdentityArguments(mv *v1alpha1.ModelVersion, opts Options) map[string]string {
	identity := map[string]string{
		contract.ParamModel:           mv.Spec.ModelName,
		contract.ParamModelVersion:    mv.Name,
		contract.ParamModelVersionUID: string(mv.UID),
		contract.ParamStoragePath:     "",
		contract.ParamClaimName:       "",
		contract.ParamSubPath:         "",
		contract.ParamNFSServer:       "",
		contract.ParamNFSPath:         "",
		contract.ParamEndpoint:        "",
		contract.ParamBucket:          "",
		contract.ParamPrefix:          "",
		contract.ParamRepo:            "",
		contract.ParamRevision:        "",
		contract.ParamImageDigest:     "",
	}
	maps.Copy(identity, sourceOf(mv, opts).arguments)
	if LacksChiefNode(mv) {
		// The status learns the node from the first Workflow.
		delete(identity, contract.ParamNodeName)
	}
	return identity
}

// PreviousImage returns the image, by digest, whose layers a build may reuse: that of
// the latest version of the Model, as it was pushed. It is empty if there is none, or
// the engine reuses none. What an image from elsewhere says about its layers is not
// proved, so they are never reused.
func PreviousImage(mv, latest *v1alpha1.ModelVersion, opts Options) string {
	if latest == nil || latest.Status.Digest == "" || latest.Spec.Storage.Image != nil || mv.Spec.Storage.Image != nil || engine(mv, opts) != v1alpha1.Stream {
		return ""
	}
	return Pinned(PushedImage(latest), latest.Status.Digest)
}

// WithPreviousImage returns a Workflow with another previous image.
func WithPreviousImage(wf *wfv1.Workflow, image string) *wfv1.Workflow {
	args := map[string]string{contract.ParamPreviousImage: image}
	for _, parameter := range wf.Spec.Arguments.Parameters {
		if parameter.Name != contract.ParamPreviousImage && parameter.Value != nil {
			args[parameter.Name] = parameter.Value.String()
		}
	}
	wf = wf.DeepCopy()
	wf.Spec.Arguments.Parameters = parameters(args)
	return wf
}

// BuildSettings returns the arguments, empty ones included, by which the spec and
// the operator's configuration decide which of the files an image holds, what it holds
// beside them, who it says has created the model, whether every file is read and
// checked, and how it is signed.
func BuildSettings(mv *v1alpha1.ModelVersion, opts Options) map[string]string {
	build := ptr.Deref(mv.Spec.Build, v1alpha1.Build{})
	settings := map[string]string{
		contract.ParamCreatedBy:         url.QueryEscape(mv.Spec.CreatedBy),
		contract.ParamBaseImage:         mirrored(cmp.Or(build.BaseImage, opts.BaseImage), opts.BaseImageMirrors),
		contract.ParamChangeDetection:   "",
		contract.ParamModelPath:         "",
		contract.ParamInclude:           lines(build.Include),
		contract.ParamExclude:           lines(build.Exclude),
		contract.ParamSymlinks:          "",
		contract.ParamCompletenessCheck: "",
		contract.ParamFileDigests:       "",
	}
	maps.Copy(settings, signingSettings(build, opts.Signing))
	// An argument that says the default is not passed.
	if build.Symlinks == v1alpha1.FollowSymlinks {
		settings[contract.ParamSymlinks] = string(build.Symlinks)
	}
	if build.CompletenessCheck == v1alpha1.SkipCompleteness {
		settings[contract.ParamCompletenessCheck] = string(build.CompletenessCheck)
	}
	if dir := ModelPath(mv); dir != v1alpha1.ModelPath {
		settings[contract.ParamModelPath] = dir
	}
	if engine(mv, opts) == v1alpha1.Stream {
		settings[contract.ParamChangeDetection] = string(build.ChangeDetection)
		if cmp.Or(build.FileDigests, opts.FileDigests) == v1alpha1.SkipFileDigests {
			settings[contract.ParamFileDigests] = string(v1alpha1.SkipFileDigests)
		}
	}
	return settings
}

// signingSettings returns the arguments, empty ones included, that say how an image is
// signed.
func signingSettings(build v1alpha1.Build, signing Signing) map[string]string {
	settings := map[string]string{
		contract.ParamSigningSecret:   build.SigningSecretName,
		contract.ParamSigningRequired: "",
		contract.ParamSigningFormats:  commas(signing.Formats),
		contract.ParamSigningAttest:   commas(signing.Attest),
		contract.ParamBuilderID:       signing.BuilderID,
	}
	if signing.Required || build.SigningSecretName != "" {
		settings[contract.ParamSigningRequired] = "true"
	}
	if signing.Attest != nil && len(signing.Attest) == 0 {
		settings[contract.ParamSigningAttest] = contract.AttestNothing
	}
	return settings
}

// SigningSettings are the names of the arguments that say how an image is signed.
func SigningSettings() []string {
	return slices.Sorted(maps.Keys(signingSettings(v1alpha1.Build{}, Signing{})))
}

// BuildHash returns a hash of a Workflow's template and of those arguments that
// decide what its image holds beside the model's files, or what is certified without
// reading the files, such as the lineage.
func BuildHash(wf *wfv1.Workflow) string {
	decisive := []string{wf.Spec.WorkflowTemplateRef.Name}
	for _, name := range []string{
		contract.ParamBaseImage, contract.ParamPlainHTTPRegistries, contract.ParamPreviousImage,
		contract.ParamKnownDigest, contract.ParamChangeDetection,
	} {
		decisive = append(decisive, Argument(wf, name))
	}
	// Hashes from before there were these arguments remain valid.
	for _, name := range append([]string{
		contract.ParamEnv, contract.ParamCreated, contract.ParamModelPath, contract.ParamInclude, contract.ParamExclude,
		contract.ParamSymlinks, contract.ParamCompletenessCheck, contract.ParamKnownRevision, contract.ParamCreatedBy,
		contract.ParamFileDigests, contract.ParamLineage,
	}, SigningSettings()...) {
		if value := Argument(wf, name); value != "" {
			decisive = append(decisive, name+"="+value)
		}
	}
	for i := range decisive {
		decisive[i] = oneLine.Replace(decisive[i])
	}
	sum := sha256.Sum256([]byte(strings.Join(decisive, "\n")))
	return hex.EncodeToString(sum[:8])
}

// oneLine writes any two values as two different lines: the lines of one argument, such
// as patterns, must not be taken for other arguments.
var oneLine = strings.NewReplacer(`\`, `\\`, "\n", `\n`)

// UsesPlainHTTPOnlyFor reports whether a Workflow accesses no other registries over
// plain HTTP than these.
func UsesPlainHTTPOnlyFor(wf *wfv1.Workflow, hosts []string) bool {
	for host := range strings.SplitSeq(Argument(wf, contract.ParamPlainHTTPRegistries), ",") {
		if host != "" && !slices.Contains(hosts, host) {
			return false
		}
	}
	return true
}

// checkCompression returns the Problem of a ModelVersion that asks for a
// compression which its engine, which the platform team may have chosen, does
// not support.
func checkCompression(mv *v1alpha1.ModelVersion, opts Options) *Problem {
	unsupported := map[v1alpha1.BuildEngine]v1alpha1.Compression{v1alpha1.Kaniko: v1alpha1.NoCompression, v1alpha1.Stream: v1alpha1.Gzip}
	with := engine(mv, opts)
	if b := mv.Spec.Build; b == nil || b.Compression == "" || b.Compression != unsupported[with] {
		return nil
	}
	return &Problem{v1alpha1.ReasonInvalidSpec, fmt.Sprintf("The engine %s does not support the compression %s: set spec.build.compression to another one, or remove it. %s", with, mv.Spec.Build.Compression, FixSpec(mv))}
}

// checkModelPath returns the Problem of a ModelVersion whose image cannot have the model
// where the spec asks for it. The API server checks the same.
func checkModelPath(mv *v1alpha1.ModelVersion) *Problem {
	dir := ModelPath(mv)
	if problem := contract.ModelPathProblem(dir); problem != "" {
		return &Problem{v1alpha1.ReasonInvalidSpec, fmt.Sprintf("spec.build.modelPath %s. It cannot be changed: create a new ModelVersion", problem)}
	}
	return nil
}

// checkCompleteness returns the Problem of a ModelVersion that skips the completeness
// check where the platform team requires it.
func checkCompleteness(mv *v1alpha1.ModelVersion, opts Options) *Problem {
	if b := mv.Spec.Build; !opts.CompletenessRequired || b == nil || b.CompletenessCheck != v1alpha1.SkipCompleteness {
		return nil
	}
	return &Problem{v1alpha1.ReasonInvalidSpec, "The platform team requires the completeness check (completenessCheckRequired): remove spec.build.completenessCheck, or ask the platform team to allow it. " + FixSpec(mv)}
}

// FixSpec returns what to do about a value of the spec that cannot be built
// from.
func FixSpec(mv *v1alpha1.ModelVersion) string {
	return fmt.Sprintf("Fields under spec.build can be changed (kubectl edit mv -n %s %s); any other field needs a new ModelVersion", mv.Namespace, mv.Name)
}

// buildArguments returns the arguments that spec.build, over the operator's
// defaults, stands for.
func buildArguments(b v1alpha1.Build, opts Options) map[string]string {
	requests, limits := resources(ptr.Deref(b.Resources, v1alpha1.BuildResources{}), opts)
	args := map[string]string{
		contract.ParamLayerSize:          formatQuantity(opts.LayerSize),
		contract.ParamMaxLayers:          formatCount(opts.MaxLayers),
		contract.ParamCompression:        string(b.Compression),
		contract.ParamPushSecret:         contract.DefaultPushSecret,
		contract.ParamPushSecretRequired: "false",
		contract.ParamRequests:           formatResources(requests),
		contract.ParamLimits:             formatResources(limits),
		contract.ParamNodeSelector:       formatNodeSelector(b.NodeSelector),
		contract.ParamTolerations:        formatTolerations(b.Tolerations),
	}
	if b.PushSecretName != "" {
		args[contract.ParamPushSecret] = b.PushSecretName
		args[contract.ParamPushSecretRequired] = "true"
	}
	return args
}

// resources returns the build container's requests and limits: the operator's,
// overridden by the ModelVersion's. Where the ModelVersion names only one of
// the two, the operator's other one is adjusted, since the API server refuses a
// pod whose request is above its limit.
func resources(own v1alpha1.BuildResources, opts Options) (requests, limits map[corev1.ResourceName]resource.Quantity) {
	requests, limits = merge(opts.Requests, own.Requests), merge(opts.Limits, own.Limits)
	for name, limit := range limits {
		request, found := requests[name]
		if !found || request.Cmp(limit) <= 0 {
			continue
		}
		if _, named := own.Limits[name]; named {
			requests[name] = limit
		} else {
			limits[name] = request
		}
	}
	return requests, limits
}

func merge(defaults, own map[corev1.ResourceName]resource.Quantity) map[corev1.ResourceName]resource.Quantity {
	merged := map[corev1.ResourceName]resource.Quantity{}
	maps.Copy(merged, defaults)
	maps.Copy(merged, own)
	return merged
}

// commas returns values, separated by commas.
func commas[T ~string](values []T) string { return joined(values, ",") }

func joined[T ~string](values []T, separator string) string {
	all := make([]string, 0, len(values))
	for _, value := range values {
		all = append(all, string(value))
	}
	return strings.Join(all, separator)
}

// lines returns patterns, one a line.
func lines(patterns []v1alpha1.FilePattern) string { return joined(patterns, "\n") }

// formatQuantity returns a quantity's canonical form, or nothing for zero.
func formatQuantity(q resource.Quantity) string {
	if q.IsZero() {
		return ""
	}
	return q.String()
}

// formatCount returns a number, or nothing for zero.
func formatCount(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// formatResources returns resources as cpu=500m,memory=256Mi.
func formatResources(list map[corev1.ResourceName]resource.Quantity) string {
	all := map[string]string{}
	for name, quantity := range list {
		all[string(name)] = quantity.String()
	}
	return formatPairs(all)
}

func formatNodeSelector(selector map[string]v1alpha1.NodeLabelValue) string {
	all := map[string]string{}
	for key, value := range selector {
		all[key] = string(value)
	}
	return formatPairs(all)
}

func formatPairs(values map[string]string) string {
	var formatted []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		formatted = append(formatted, key+"="+values[key])
	}
	return strings.Join(formatted, ",")
}

// formatTolerations returns tolerations in the form in which kubectl taint
// takes taints.
func formatTolerations(list []v1alpha1.Toleration) string {
	var formatted []string
	for _, t := range list {
		taint := t.Key
		if t.Operator != corev1.TolerationOpExists {
			taint += "=" + t.Value
		}
		formatted = append(formatted, taint+":"+string(t.Effect))
	}
	return strings.Join(formatted, ",")
}

// parameters returns the arguments in the order of their names.
func parameters(args map[string]string) []wfv1.Parameter {
	var list []wfv1.Parameter
	for _, name := range slices.Sorted(maps.Keys(args)) {
		list = append(list, wfv1.Parameter{Name: name, Value: wfv1.AnyStringPtr(args[name])})
	}
	return list
}
