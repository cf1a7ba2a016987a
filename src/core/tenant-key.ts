/** A key for something of a tenant (run, concurrency key) inside this process. The tenant's length keeps `a/b` + `c` and `a` + `b/c` apart. */
export const tenantKey = (tenant: string, name: string): string => `${tenant.length}:${tenant}/${name}`;
