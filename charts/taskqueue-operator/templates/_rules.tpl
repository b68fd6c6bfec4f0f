{{/* What the operator may do in every namespace that it serves. A worker's Role grants only what
stands here too (tasks get, tasks/status patch, pods get; secrets and configmaps get, by name), so
`escalate` and `bind` are not needed. */}}
{{- define "taskqueue.rules" -}}
- apiGroups: [taskqueue.dev]
  resources: [taskqueues]
  # patch: the finalizer, and what the operator remembers in annotations.
  verbs: [get, list, watch, patch]
- apiGroups: [taskqueue.dev]
  resources: [taskqueues/status]
  verbs: [patch]
- apiGroups: [taskqueue.dev]
  resources: [taskqueues/finalizers]
  # Asked for where owner references that block deletion are checked.
  verbs: [update]
- apiGroups: [taskqueue.dev]
  resources: [tasks]
  # get and delete: one by one, finished Tasks that their queue's history or their own TTL gives up.
  verbs: [get, list, watch, delete]
- apiGroups: [taskqueue.dev]
  resources: [tasks/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [deployments]
  # delete: the workers of a TaskQueue being deleted end before its queue does. Whoever may patch
  # a Deployment can stop its pods anyway.
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, watch, create, patch]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [secrets]
  # By name only: a list would show every Secret there is.
  verbs: [get, create, patch]
- apiGroups: [""]
  resources: [configmaps]
  # Never read by the operator, which can let workers read only what it may read itself.
  verbs: [get]
- apiGroups: [""]
  resources: [services]
  # To find the port named `management` of the broker's Service.
  verbs: [get]
- apiGroups: [""]
  resources: [pods]
  # patch: what a busy worker costs when there are to be fewer. A Deployment's owner can do more.
  verbs: [get, list, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}

{{/* The UID of kube-system is the cluster's identity. */}}
{{- define "taskqueue.clusterIdentityRule" -}}
- apiGroups: [""]
  resources: [namespaces]
  resourceNames: [kube-system]
  verbs: [get]
{{- end -}}
