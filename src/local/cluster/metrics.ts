/** Labels by which a request is counted; those of the real server's counter. */
export interface RequestLabels {
  readonly verb: string;
  readonly resource: string;
  readonly subresource: string;
  readonly scope: string;
  readonly code: number;
}

/** Counts requests as the real server does, under the same name, so that one benchmark reads both. */
export class RequestMetrics {
  readonly #counts = new Map<string, number>();

  /** Counts one request. */
  count({ verb, resource, subresource, scope, code }: RequestLabels): void {
    const labels = `code="${String(code)}",component="apiserver",dry_run="",group="",resource="${resource}",scope="${scope}",subresource="${subresource}",verb="${verb}",version="v1"`;
    this.#counts.set(labels, (this.#counts.get(labels) ?? 0) + 1);
  }

  /** All counts in Prometheus' text format, followed by `gauges`. */
  text(gauges: Readonly<Record<string, number>>): string {
    const lines = [
      '# HELP apiserver_request_total Counter of apiserver requests broken out for each verb, resource, scope and code.',
      '# TYPE apiserver_request_total counter',
      ...[...this.#counts].map(([labels, value]) => `apiserver_request_total{${labels}} ${String(value)}`),
      ...Object.entries(gauges).map(([name, value]) => `${name} ${String(value)}`),
    ];
    return `${lines.join('\n')}\n`;
  }
}
