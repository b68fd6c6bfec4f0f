{{/* Name of the broker's objects; a StatefulSet's pods leave it less room than others. */}}
{{- define "taskqueue.rabbitmq.name" -}}
{{- printf "%s-rabbitmq" (.Release.Name | trunc 40 | trimSuffix "-") -}}
{{- end -}}

{{/* As the RabbitMQ cluster operator names it. */}}
{{- define "taskqueue.rabbitmq.secretName" -}}
{{- printf "%s-default-user" (include "taskqueue.rabbitmq.name" .) -}}
{{- end -}}

{{- define "taskqueue.rabbitmq.selectorLabels" -}}
app.kubernetes.io/name: rabbitmq
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: broker
{{- end -}}

{{- define "taskqueue.rabbitmq.labels" -}}
{{ include "taskqueue.rabbitmq.selectorLabels" . }}
{{ include "taskqueue.releaseLabels" . }}
{{- end -}}

{{/* The shovel puts dead letters back: docs/dead-letters.md. */}}
{{- define "taskqueue.rabbitmq.plugins" -}}
[rabbitmq_management, rabbitmq_shovel, rabbitmq_shovel_management].
{{- end -}}

{{- define "taskqueue.rabbitmq.config" -}}
loopback_users = none
log.console = true
log.file = false
# The node's disk is not the broker's own: keep a little of it free.
disk_free_limit.absolute = 100MB
vm_memory_high_watermark.relative = 0.6
{{- /* Elsewise RabbitMQ asks the cgroup, and not in every version with success. */}}
{{- $limit := dig "limits" "memory" "" (.Values.rabbitmq.resources | default dict) | toString }}
{{- if regexMatch "^[0-9]+[MG]i$" $limit }}
total_memory_available_override_value = {{ $limit }}B
{{- end }}
{{- end -}}
