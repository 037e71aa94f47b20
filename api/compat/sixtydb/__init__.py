"""The 60db speech-to-text API: POST /stt, GET /stt/languages, GET /stt/models, WS /ws/stt."""
