// What the frontend's types leave out.

// Imported from the host's own address, which is no file here.
declare module "*/scripts/app.js" {
    import type { ComfyApp } from "@comfyorg/comfyui-frontend-types";
    export const app: ComfyApp;
}

type ComfyExtension = import("@comfyorg/comfyui-frontend-types").ComfyExtension;
type LGraphNode = Parameters<NonNullable<ComfyExtension["nodeCreated"]>>[0];

/** A node of the graph. */
type GraphNode = LGraphNode & {
    constructor: { nodeData?: { python_module?: string } };
    onAfterGraphConfigured?: () => void;
    onExecuted?: (output: any) => void;
};
type Slot = GraphNode["inputs"][number];

/** What a widget is told when a run is queued. */
type Queued = { isPartialExecution?: boolean };
type Widget = NonNullable<GraphNode["widgets"]>[number] & {
    beforeQueued?: (run?: Queued) => void;
    afterQueued?: (run?: Queued) => void;
};
