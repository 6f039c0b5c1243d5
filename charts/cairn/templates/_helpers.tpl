{{/* Names. A StatefulSet's pods carry its name and a hash in a label of 63 bytes. */}}
{{- define "cairn.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "cairn.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "cairn.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "cairn.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "cairn.headless" -}}
{{- include "cairn.fullname" . }}-headless
{{- end }}

{{- define "cairn.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "cairn.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* What pods are found by: fixed for ever, a StatefulSet's selector cannot be changed. */}}
{{- define "cairn.selectorLabels" -}}
app.kubernetes.io/name: {{ include "cairn.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "cairn.memberLabels" -}}
{{ include "cairn.selectorLabels" . }}
app.kubernetes.io/component: member
{{- end }}

{{/* metadata of an object: dict root, name, component; labels, annotations and namespace if it has more. */}}
{{- define "cairn.metadata" -}}
{{- $root := .root -}}
name: {{ .name }}
namespace: {{ default $root.Release.Namespace .namespace }}
labels:
  {{- include "cairn.selectorLabels" $root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
  app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ $root.Release.Service }}
  helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
  {{- with merge (dict) (default (dict) .labels) $root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (default (dict) .annotations) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "cairn.image" -}}
{{- $registry := default .Values.image.registry (.Values.global).imageRegistry -}}
{{- if $registry }}{{ $registry }}/{{ end }}{{ .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ end }}
{{- end }}

{{- define "cairn.imagePullSecrets" -}}
{{- with concat .Values.image.pullSecrets (default (list) (.Values.global).imagePullSecrets) | uniq }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* URLs. */}}
{{- define "cairn.clientScheme" -}}{{ ternary "https" "http" .Values.tls.client.enabled }}{{- end }}
{{- define "cairn.peerScheme" -}}{{ ternary "https" "http" .Values.tls.peer.enabled }}{{- end }}
{{- define "cairn.domain" -}}
{{ include "cairn.headless" . }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end }}
{{- define "cairn.serviceURL" -}}
{{ include "cairn.clientScheme" . }}://{{ include "cairn.fullname" . }}.{{ .Release.Namespace }}.svc:{{ .Values.service.port }}
{{- end }}

{{/* name=URL of every member; each member is given the whole list, also after it has grown. */}}
{{- define "cairn.initialCluster" -}}
{{- $members := list }}
{{- range $i := until (int .Values.replicaCount) }}
{{- $name := printf "%s-%d" (include "cairn.fullname" $) $i }}
{{- $members = append $members (printf "%s=%s://%s.%s:%d" $name (include "cairn.peerScheme" $) $name (include "cairn.domain" $) (int $.Values.ports.peer)) }}
{{- end }}
{{- join "," $members }}
{{- end }}

{{/* The secret of one side of TLS: dict root, side. Empty: none, the daemon makes certificates itself. */}}
{{- define "cairn.tlsSecret" -}}
{{- $tls := index .root.Values.tls .side -}}
{{- if and $tls.enabled (not $tls.auto) }}
{{- if $tls.existingSecret }}{{ $tls.existingSecret }}
{{- else if .root.Values.tls.certManager.enabled }}{{ include "cairn.fullname" .root }}-{{ .side }}-tls
{{- else }}{{ fail (printf "tls.%s.enabled needs one of tls.%s.existingSecret, tls.%s.auto and tls.certManager.enabled" .side .side .side) }}
{{- end }}
{{- end }}
{{- end }}

{{/* The secret with the join token. Empty: members have none. */}}
{{- define "cairn.joinTokenSecret" -}}
{{- if .Values.joinToken.enabled }}{{ default (printf "%s-join-token" (include "cairn.fullname" .)) .Values.joinToken.existingSecret }}{{ end }}
{{- end }}

{{/* What the quorum bears; a single member, or one of two, may go too: otherwise its node can never be drained. */}}
{{- define "cairn.maxUnavailable" -}}
{{- if kindIs "invalid" .Values.pdb.maxUnavailable }}{{ max 1 (div (sub (int .Values.replicaCount) 1) 2) }}{{ else }}{{ .Values.pdb.maxUnavailable }}{{ end }}
{{- end }}

{{/* What etcdctl is told by the chart's own pods. */}}
{{- define "cairn.ctlEnv" -}}
- name: ETCDCTL_API
  value: "3"
- name: ETCDCTL_ENDPOINTS
  value: {{ include "cairn.serviceURL" . | quote }}
{{- if .Values.tls.client.enabled }}
{{- if .Values.tls.client.auto }}
- name: ETCDCTL_INSECURE_TRANSPORT
  value: "false"
- name: ETCDCTL_INSECURE_SKIP_TLS_VERIFY
  value: "true"
{{- else }}
- name: ETCDCTL_CACERT
  value: /etc/cairn/tls/ctl/ca.crt
{{- if .Values.tls.client.clientCertAuth }}
- name: ETCDCTL_CERT
  value: /etc/cairn/tls/ctl/tls.crt
- name: ETCDCTL_KEY
  value: /etc/cairn/tls/ctl/tls.key
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- define "cairn.ctlSecret" -}}
{{- if not .Values.tls.client.auto }}{{ default (include "cairn.tlsSecret" (dict "root" . "side" "client")) .Values.tls.client.clientSecret }}{{ end }}
{{- end }}

{{/* The members that go must be removed first: without them two of three may be too few to do it. */}}
{{- define "cairn.guardScaleDown" -}}
{{- $old := lookup "apps/v1" "StatefulSet" .Release.Namespace (include "cairn.fullname" .) -}}
{{- if and $old (not .Values.scaleDownConfirmed) }}
{{- $have := int $old.spec.replicas }}
{{- if gt $have (int .Values.replicaCount) }}
{{- fail (printf "replicaCount=%d, and %d members run: remove members %s-%d and above first, with `etcdctl member remove`, then say --set scaleDownConfirmed=true (the chart's README, \"Fewer members\")" (int .Values.replicaCount) $have (include "cairn.fullname" .) (int .Values.replicaCount)) }}
{{- end }}
{{- end }}
{{- end }}

{{/* etcdctl in a member's own container. */}}
{{- define "cairn.ctl" -}}
etcdctl
{{- if .Values.tls.client.enabled }} --endpoints=https://127.0.0.1:{{ .Values.ports.client }}
{{- if .Values.tls.client.auto }} --insecure-transport=false --insecure-skip-tls-verify
{{- else if .Values.tls.client.clientCertAuth }} --cacert=/etc/cairn/tls/client/ca.crt --cert=/etc/cairn/tls/client/tls.crt --key=/etc/cairn/tls/client/tls.key
{{- else }} --cacert=/etc/cairn/tls/client/ca.crt
{{- end }}
{{- else if ne (int .Values.ports.client) 2379 }} --endpoints=http://127.0.0.1:{{ .Values.ports.client }}
{{- end }}
{{- end }}
