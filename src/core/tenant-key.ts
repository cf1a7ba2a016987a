/** One key for a tenant's run, concurrency key and the like inside this process. The tenant's length keeps `a/b` + `c` and `a` + `b/c` apart. */
export const tenantKey = (tenant: string, name: string): string => `${tenant.length}:${tenant}/${name}`;
