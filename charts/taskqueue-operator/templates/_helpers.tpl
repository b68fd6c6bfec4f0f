{{/* Name of the operator's objects. */}}
{{- define "taskqueue.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains "taskqueue" .Release.Name -}}
{{- printf "%s-operator" (.Release.Name | trimSuffix "-operator") -}}
{{- else -}}
{{- printf "%s-taskqueue-operator" (.Release.Name | trunc 40 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{/* The part of the TaskQueues that is served, `i/n`. The schema cannot compare the two. */}}
{{- define "taskqueue.shard" -}}
{{- with .Values.shard -}}
{{- $parts := splitList "/" . -}}
{{- if gt (index $parts 0 | int) (index $parts 1 | int) -}}
{{- fail (printf "shard must be i/n with i from 1 to n, such as 2/4 for the second of four shards, not '%s'" .) -}}
{{- end -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{/* Labels that select the operator's pod. They can never change. */}}
{{- define "taskqueue.selectorLabels" -}}
app.kubernetes.io/name: taskqueue-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "taskqueue.releaseLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "taskqueue.labels" -}}
{{ include "taskqueue.selectorLabels" . }}
{{ include "taskqueue.releaseLabels" . }}
{{- end -}}

{{/* An image's reference, from (dict "image" VALUES "registry" REGISTRY "tag" DEFAULT). */}}
{{- define "taskqueue.image" -}}
{{- with .registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- .image.repository }}:{{ .image.tag | default .tag -}}
{{- end -}}

{{- define "taskqueue.operatorImage" -}}
{{- include "taskqueue.image" (dict "image" .Values.image "registry" .Values.image.registry "tag" .Chart.AppVersion) -}}
{{- end -}}

{{- define "taskqueue.workerImage" -}}
{{- $registry := .Values.workerImage.registry | default .Values.image.registry -}}
{{- include "taskqueue.image" (dict "image" .Values.workerImage "registry" $registry "tag" .Chart.AppVersion) -}}
{{- end -}}

{{/* Name and namespace of the default broker's Secret; both empty: there is none. */}}
{{- define "taskqueue.brokerSecretName" -}}
{{- if .Values.broker.secretRef.name -}}
{{- .Values.broker.secretRef.name -}}
{{- else if .Values.rabbitmq.enabled -}}
{{- include "taskqueue.rabbitmq.secretName" . -}}
{{- end -}}
{{- end -}}

{{- define "taskqueue.brokerSecretNamespace" -}}
{{- if .Values.broker.secretRef.name -}}
{{- .Values.broker.secretRef.namespace | default .Release.Namespace -}}
{{- else if .Values.rabbitmq.enabled -}}
{{- .Release.Namespace -}}
{{- end -}}
{{- end -}}

{{/* What every container of this chart may do: nothing that the pod security standard
"restricted" forbids, nor write to its root file system. */}}
{{- define "taskqueue.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
{{- end -}}

{{/* The same for pods, from the number of their user and group. */}}
{{- define "taskqueue.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}
