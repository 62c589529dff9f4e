// Package webhook handles the API server's admission requests:
//
//   - A pod with the label model.kubedl.io/train-version gets the storage of that
//     ModelVersion (training.go).
//   - A pod with the label model.kubedl.io/serve-version or
//     model.kubedl.io/serve-model gets the files of that ModelVersion's image
//     (serving.go).
//   - A workload with a ModelVersion template is rejected if no ModelVersion could
//     be created from the template (workloads.go).
//
// What a pod gets is decided in internal/inject. The certificate is in
// internal/webhook/certs.
package webhook
