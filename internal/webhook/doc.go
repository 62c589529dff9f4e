// Package webhook handles the API server's admission requests:
//
//   - A pod with the label model.kubedl.io/train-version gets the storage of that
//     ModelVersion (training.go).
//   - A pod with the label model.kubedl.io/serve-version or
//     model.kubedl.io/serve-model gets the files of that ModelVersion's image
//     (serving.go).
//     Pods of one revision of a workload that serve a Model, or an alias of it, get
//     the same ModelVersion (revision.go).
//   - A workload with a ModelVersion template is rejected if no ModelVersion could
//     be created from the template (workloads.go).
//   - A ModelVersion gets the name of the user who creates it (creator.go), and a Model
//     those of the users who promote its ModelVersions (promoter.go).
//   - The deletion of a ModelVersion that is in use is rejected (deletion.go).
//
// Requests are limited (limit.go), and checked before anything is read
// (access.go). What a pod gets is decided in internal/inject. The certificate is in
// internal/webhook/certs.
package webhook
