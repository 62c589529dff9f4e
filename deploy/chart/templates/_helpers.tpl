{{/*
The files in files/ are the objects of deploy/, by the way in which values affect them.
They contain expressions of Argo and CEL in double braces, so they are not templates.
*/}}

{{/* An image, in the registry global.imageRegistry if it is set. */}}
{{- define "modelkiln.image" -}}
{{- with .root.Values.global.imageRegistry }}{{ . }}/{{ regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $.reference "" }}{{ else }}{{ .reference }}{{ end -}}
{{- end -}}

{{/* An object of files/ with the images and the namespace of the release. */}}
{{- define "modelkiln.object" -}}
{{- $images := .root.Values.image -}}
{{- .root.Files.Get .path
  | replace "IMAGE_OPERATOR" (include "modelkiln.image" (dict "root" .root "reference" $images.operator))
  | replace "IMAGE_STEP" (include "modelkiln.image" (dict "root" .root "reference" $images.step))
  | replace "IMAGE_KANIKO" (include "modelkiln.image" (dict "root" .root "reference" $images.kaniko))
  | replace "RELEASE_NAMESPACE" .root.Release.Namespace -}}
{{- end -}}

{{/* All objects of a directory of files/. */}}
{{- define "modelkiln.objects" -}}
{{- range $path, $_ := .root.Files.Glob (printf "files/%s/*.yaml" .group) }}
---
{{ include "modelkiln.object" (dict "root" $.root "path" $path) }}
{{- end }}
{{- end -}}

{{/* The operator's configuration. */}}
{{- define "modelkiln.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if and .Values.global.imageRegistry $config.baseImage (ne $config.baseImage "scratch") -}}
{{- $_ := set $config "baseImage" (include "modelkiln.image" (dict "root" . "reference" $config.baseImage)) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}
