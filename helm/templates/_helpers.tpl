{{- define "tritone.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that never change: what selectors ask for. (dict "root" $ "component" "api") */}}
{{- define "tritone.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .group }}
tritone/group: {{ . }}
{{- end }}
{{- end -}}

{{- define "tritone.labels" -}}
{{ include "tritone.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* (dict "root" $ "image" .Values.images.api): the image and when it is pulled */}}
{{- define "tritone.image" -}}
{{- if .image.digest -}}
image: {{ printf "%s@%s" .image.repository .image.digest | quote }}
{{- else -}}
image: {{ printf "%s:%s" .image.repository (default .root.Chart.AppVersion .image.tag) | quote }}
{{- end }}
imagePullPolicy: {{ .image.pullPolicy }}
{{- end -}}

{{/* (dict "root" $ "account" "api") */}}
{{- define "tritone.serviceAccountName" -}}
{{- $account := index .root.Values.serviceAccounts .account -}}
{{- default (ternary (printf "%s-%s" (include "tritone.fullname" .root) .account) "default" $account.create) $account.name -}}
{{- end -}}

{{/* What all our Pods have in common: (dict "root" $ "account" "api") */}}
{{- define "tritone.pod" -}}
serviceAccountName: {{ include "tritone.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "tritone.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* (dict "selector" SELECTOR_LABELS "on" .Values.api): where Pods go, and apart from each other */}}
{{- define "tritone.scheduling" -}}
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $.selector | nindent 8 }}
  {{- end }}
{{- with .on.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .on.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .on.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The Secret with the passwords of what is bundled: (dict "root" $ "of" "postgresql") */}}
{{- define "tritone.passwordSecret" -}}
{{- default (printf "%s-bundled" (include "tritone.fullname" .root)) (index .root.Values .of).existingSecret -}}
{{- end -}}

{{/* A password that is kept: the one in the cluster, or a new one. (dict "root" $ "key" "redis-password") */}}
{{- define "tritone.password" -}}
{{- $secret := lookup "v1" "Secret" .root.Release.Namespace (printf "%s-bundled" (include "tritone.fullname" .root)) | default dict -}}
{{- index (default dict $secret.data) .key | default (randAlphaNum 32 | b64enc) -}}
{{- end -}}

{{/* An environment variable out of a Secret: (dict "name" "REDIS_URL" "secret" NAME "key" KEY) */}}
{{- define "tritone.secretEnv" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef: {name: {{ .secret | quote }}, key: {{ .key | quote }}}
{{- end -}}

{{/* The database and what keys are hashed with: all that works on accounts, transcripts and versions needs both. */}}
{{- define "tritone.databaseEnv" -}}
{{ include "tritone.secretEnv" (dict "name" "TRITONE_SECRET" "secret" (required "secret.existingSecret must name a Secret with what API keys are hashed with: kubectl create secret generic tritone --from-literal=TRITONE_SECRET=$(openssl rand -hex 32)" .Values.secret.existingSecret) "key" .Values.secret.key) }}
{{- if .Values.postgresql.enabled }}
{{ include "tritone.secretEnv" (dict "name" "POSTGRES_PASSWORD" "secret" (include "tritone.passwordSecret" (dict "root" . "of" "postgresql")) "key" "postgresql-password") }}
- name: DATABASE_URL
  value: "postgresql://tritone:$(POSTGRES_PASSWORD)@{{ include "tritone.fullname" . }}-postgresql/tritone"
{{- else }}
{{ include "tritone.secretEnv" (dict "name" "DATABASE_URL" "secret" (required "database.existingSecret must name a Secret with the URL of a PostgreSQL; for a trial set postgresql.enabled=true instead" .Values.database.existingSecret) "key" .Values.database.key) }}
{{- end }}
{{- end -}}

{{- define "tritone.tritonUrl" -}}
{{- default (printf "%s-triton.%s.svc:8001" (include "tritone.fullname" .) .Release.Namespace) .Values.triton.externalUrl -}}
{{- end -}}

{{/* The groups of Tritons with the defaults filled in, as YAML; none where Triton is elsewhere. */}}
{{- define "tritone.groups" -}}
{{- if not .Values.triton.externalUrl -}}
{{- range $name, $group := .Values.triton.groups }}
{{ $name }}: {{ mergeOverwrite (deepCopy $.Values.triton.defaults) (default dict $group) | toJson }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* Not empty if KEDA scales a group. */}}
{{- define "tritone.autoscaled" -}}
{{- range include "tritone.groups" . | fromYaml }}{{ if .autoscaling.enabled }}true{{ end }}{{ end -}}
{{- end -}}

{{/* Where Triton finds its models. */}}
{{- define "tritone.repository" -}}
{{- if eq .Values.models.source "pvc" -}}
/models
{{- else -}}
{{- required (printf "models.%s.url must say where the models are" .Values.models.source) (index .Values.models .Values.models.source).url -}}
{{- end -}}
{{- end -}}

{{- define "tritone.claimName" -}}
{{- default (printf "%s-models" (include "tritone.fullname" .)) .Values.models.pvc.existingClaim -}}
{{- end -}}

{{/* What Triton and the toolbox need to reach the repository. (dict "root" $ "readOnly" true) */}}
{{- define "tritone.repositoryMounts" -}}
{{- if eq .root.Values.models.source "pvc" }}
- {name: models, mountPath: /models, readOnly: {{ .readOnly }}}
{{- else if and (eq .root.Values.models.source "gcs") .root.Values.models.gcs.existingSecret }}
- {name: bucket, mountPath: /etc/tritone/bucket, readOnly: true}
{{- end }}
{{- end -}}

{{- define "tritone.repositoryVolumes" -}}
{{- if eq .Values.models.source "pvc" }}
- name: models
  persistentVolumeClaim: {claimName: {{ include "tritone.claimName" . }}}
{{- else if and (eq .Values.models.source "gcs") .Values.models.gcs.existingSecret }}
- name: bucket
  secret: {secretName: {{ .Values.models.gcs.existingSecret | quote }}}
{{- end }}
{{- end -}}

{{- define "tritone.repositoryEnv" -}}
{{- if eq .Values.models.source "s3" }}
{{- with .Values.models.s3.region }}
- {name: AWS_DEFAULT_REGION, value: {{ . | quote }}}
{{- end }}
{{- with .Values.models.s3.existingSecret }}
{{ include "tritone.secretEnv" (dict "name" "AWS_ACCESS_KEY_ID" "secret" . "key" "AWS_ACCESS_KEY_ID") }}
{{ include "tritone.secretEnv" (dict "name" "AWS_SECRET_ACCESS_KEY" "secret" . "key" "AWS_SECRET_ACCESS_KEY") }}
{{- end }}
{{- else if and (eq .Values.models.source "gcs") .Values.models.gcs.existingSecret }}
- {name: GOOGLE_APPLICATION_CREDENTIALS, value: {{ printf "/etc/tritone/bucket/%s" .Values.models.gcs.key | quote }}}
{{- end }}
{{- end -}}

{{/* Seconds that an export may take before Triton starts. */}}
{{- define "tritone.exportS" -}}
{{- ternary .Values.models.export.expectedS 0 .Values.models.export.enabled -}}
{{- end -}}

{{/* The marker that says that an export is done: (dict "root" $ "arguments" LIST). The demo's exporter leaves alone what
there is already, so it goes with the image; another version cannot be written twice. */}}
{{- define "tritone.marker" -}}
{{- $what := toJson .arguments -}}
{{- if eq (first .arguments) "demo" -}}
{{- $what = printf "%s %s" $what (include "tritone.image" (dict "root" .root "image" .root.Values.images.exporter)) -}}
{{- end -}}
/models/.exported-{{ $what | sha256sum | trunc 16 }}
{{- end -}}
