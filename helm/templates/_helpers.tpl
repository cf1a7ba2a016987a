{{- define "reentry.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "reentry.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "reentry.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "reentry.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "reentry.selector" -}}
app.kubernetes.io/name: {{ include "reentry.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "reentry.labels" -}}
{{ include "reentry.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: reentry
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "reentry.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* Task namespaces as JSON; null: all. */}}
{{- define "reentry.namespaces" -}}
{{- if .Values.clusterWide -}}
null
{{- else -}}
{{- default (list .Release.Namespace) .Values.namespaces | uniq | toJson -}}
{{- end -}}
{{- end -}}

{{/*
The Deployments, as a JSON list of { name, component, roles, queues, key, pool (defaults merged in) }. Each component (a role, or serve, which has
several) has its own service account, NATS user and key of the Secret. `queues`: the queues of each of its roles that serves any.
*/}}
{{- define "reentry.deployments" -}}
{{- $all := list -}}
{{- $root := . -}}
{{- $served := ternary .Values.serve.roles list .Values.serve.enabled -}}
{{- $components := dict "worker" .Values.workers "executor" .Values.executors "triggerer" (dict "default" .Values.triggerer) "serve" (dict "default" .Values.serve) -}}
{{- range $component, $pools := $components -}}
{{- range $key, $pool := $pools -}}
{{- $isServed := and (eq $key "default") (has $component $served) -}}
{{- if and $pool (ne (toString (dig "enabled" true $pool)) "false") (not $isServed) -}}
{{- $whole := mergeOverwrite (deepCopy $root.Values.defaults) (deepCopy $pool) -}}
{{- $suffix := ternary $component (printf "%s-%s" $component $key) (eq $key "default") -}}
{{- $roles := default (list $component) $pool.roles -}}
{{- $queues := dict -}}
{{- if has "worker" $roles -}}{{- $_ := set $queues "worker" $pool.queues -}}{{- end -}}
{{- if has "executor" $roles -}}{{- $_ := set $queues "executor" (default $pool.queues $pool.executorQueues) -}}{{- end -}}
{{- $all = append $all (dict "name" (printf "%s-%s" (include "reentry.fullname" $root) $suffix) "component" $component "roles" $roles "queues" $queues "key" $key "pool" $whole) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/* Queues of one role (worker or executor) over some Deployments, as JSON: { deployments, role }. If there are none, the role's default queue. */}}
{{- define "reentry.queues" -}}
{{- $queues := list -}}
{{- range .deployments -}}
{{- $queues = concat $queues (default list (index .queues $.role)) -}}
{{- end -}}
{{- default (list (ternary "executor" "default" (eq .role "executor"))) $queues | uniq | toJson -}}
{{- end -}}

{{- define "reentry.serviceAccount" -}}
{{ include "reentry.fullname" .root }}-{{ .component }}
{{- end -}}

{{/* A setting of a config, else its default in the program: { root, config, name }. */}}
{{- define "reentry.setting" -}}
{{- $config := default dict .config -}}
{{- if hasKey $config .name -}}
{{- index $config .name -}}
{{- else -}}
{{- index (.root.Files.Get "files/defaults.json" | fromJson) .name -}}
{{- end -}}
{{- end -}}

{{/* A setting as the value of its environment variable: lists separated by commas, maps as KEY=VALUE. */}}
{{- define "reentry.settingText" -}}
{{- if kindIs "slice" . -}}
{{- join "," . -}}
{{- else if kindIs "map" . -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}
{{- $pairs = append $pairs (printf "%s=%s" $key (include "reentry.settingText" $value)) -}}
{{- end -}}
{{- join "," $pairs -}}
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{/* Environment of a process: { root, component, roles, queues, config }. */}}
{{- define "reentry.env" -}}
{{- $root := .root -}}
{{- $settings := mergeOverwrite (deepCopy $root.Values.config) (deepCopy (default dict .config)) -}}
{{- range $name, $value := $settings }}
- name: REENTRY_{{ $name | snakecase | upper }}
  value: {{ include "reentry.settingText" $value | quote }}
{{- end }}
{{- $namespaces := include "reentry.namespaces" $root | fromJsonArray -}}
{{- if not $root.Values.clusterWide }}
- name: REENTRY_NAMESPACES
  value: {{ $namespaces | join "," | quote }}
{{- end }}
{{- with .queues.worker }}
- name: REENTRY_QUEUES
  value: {{ join "," . | quote }}
{{- end }}
{{- with .queues.executor }}
- name: REENTRY_EXECUTOR_QUEUES
  value: {{ join "," . | quote }}
{{- end }}
{{- if ne .component "setup" }}
- name: REENTRY_CONNECTIONS
  value: /etc/reentry/config/connections.yaml
{{- end }}
{{- if or (has "worker" .roles) (has "executor" .roles) }}
{{- if $root.Values.policy }}
- name: REENTRY_POLICY
  value: /etc/reentry/config/policy.yaml
{{- end }}
{{- if $root.Values.templates }}
- name: REENTRY_TEMPLATE_FOLDER
  value: /etc/reentry/templates
{{- end }}
{{- end }}
{{- with $root.Values.nats.auth }}
{{- if eq .method "password" }}
- name: REENTRY_NATS_USER
  value: reentry-{{ $.component }}
- name: REENTRY_NATS_PASS_FILE
  value: /etc/reentry/nats/secret
{{- else if eq .method "creds" }}
- name: REENTRY_NATS_CREDS
  value: /etc/reentry/nats/secret
{{- else if eq .method "token" }}
- name: REENTRY_NATS_TOKEN_FILE
  value: /etc/reentry/nats/secret
{{- end }}
{{- end }}
{{- if $root.Values.nats.tls.secret }}
- name: REENTRY_NATS_TLS_CA
  value: /etc/reentry/nats-tls/ca.crt
{{- if $root.Values.nats.tls.clientCertificate }}
- name: REENTRY_NATS_TLS_CERT
  value: /etc/reentry/nats-tls/tls.crt
- name: REENTRY_NATS_TLS_KEY
  value: /etc/reentry/nats-tls/tls.key
{{- end }}
{{- end }}
{{- end -}}

{{- define "reentry.volumeMounts" -}}
- { name: tmp, mountPath: /tmp }
{{- if ne .component "setup" }}
- { name: config, mountPath: /etc/reentry/config, readOnly: true }
{{- range .root.Values.connectionSecrets }}
- { name: connection-{{ . }}, mountPath: /etc/reentry/connections/{{ . }}, readOnly: true }
{{- end }}
{{- end }}
{{- if and .root.Values.templates (or (has "worker" .roles) (has "executor" .roles)) }}
- { name: templates, mountPath: /etc/reentry/templates, readOnly: true }
{{- end }}
{{- if ne .root.Values.nats.auth.method "none" }}
- { name: nats, mountPath: /etc/reentry/nats, readOnly: true }
{{- end }}
{{- if .root.Values.nats.tls.secret }}
- { name: nats-tls, mountPath: /etc/reentry/nats-tls, readOnly: true }
{{- end }}
{{- end -}}

{{- define "reentry.volumes" -}}
- name: tmp
  emptyDir: { sizeLimit: 64Mi }
{{- if ne .component "setup" }}
- name: config
  configMap: { name: {{ include "reentry.fullname" .root }} }
{{- range .root.Values.connectionSecrets }}
- name: connection-{{ . }}
  secret: { secretName: {{ . }} }
{{- end }}
{{- end }}
{{- if and .root.Values.templates (or (has "worker" .roles) (has "executor" .roles)) }}
- name: templates
  configMap: { name: {{ include "reentry.fullname" .root }}-templates }
{{- end }}
{{- if ne .root.Values.nats.auth.method "none" }}
- name: nats
  secret:
    secretName: {{ required "nats.auth.secret names the Secret with one key for each kind of process" .root.Values.nats.auth.secret }}
    # Each component sees only its own key.
    items: [{ key: {{ .component }}, path: secret }]
{{- end }}
{{- if .root.Values.nats.tls.secret }}
- name: nats-tls
  secret: { secretName: {{ .root.Values.nats.tls.secret }} }
{{- end }}
{{- end -}}

{{- define "reentry.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "reentry.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}
