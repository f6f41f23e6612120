from django.apps import AppConfig


class GatewayConfig(AppConfig):
    name = "orchestrator.gateway"
    label = "gateway"
    verbose_name = "MCP gateway"
